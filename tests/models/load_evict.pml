/* SPDX-License-Identifier: MIT */
/* (b) a page is found, loaded, joined, evicted through one table entry {frame, generation}; loaders, evictor and reaper may die at any step.
 * NF frames, pages 0..NP-1, sessions S0 S1 fetch NK0, NK1 times any page, one evictor, two reapers one after the other.
 * Asserts: never two frames VALID (or EVICTING) for one page; a pinned frame is this page's; in the end no frame is lost, every VALID frame is found. */
#ifndef MUT
#define MUT 0
#endif
#ifndef NF
#define NF 2
#endif
#ifndef NP
#define NP 2
#endif
#ifndef NK0
#define NK0 2
#endif
#ifndef NK1
#define NK1 1
#endif
#ifndef EIO
#define EIO 0
#endif
#ifndef NE
#define NE 2
#endif
#ifndef MAXC
#define MAXC 2
#endif
#ifndef NOP
#define NOP 0         /* 1: no sticky word for pins */
#endif
#ifndef NOTIDY
#define NOTIDY 0      /* 1: nobody ever removes a stale entry */
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3
#define NONE 7
#define NG 8
#define EV 2                             /* owner number of the evictor */
byte st[NF], ow[NF], gen[NF];            /* frame words */
byte pgid[NF]; bool sty[NF]; bool byt[NF];/* page id, sticky, bytes are those of page pgid */
byte tf[NP], tg[NP];                     /* table entries */
byte hold[2], intent[2];
bool dead[3]; byte crashes=0; bool rdead=0; byte rlock=0;
#define DIE(i) if :: crashes<MAXC -> crashes++; dead[i]=1; goto out :: true fi
#define LIVEST(x) (st[x]==VALID || st[x]==EVICTING)
#define ONE(p) assert(!(LIVEST(0) && pgid[0]==p && LIVEST(1) && pgid[1]==p))
init { byte z=0; atomic{ do :: z<NP -> tf[z]=NONE; z++ :: else -> break od; z=0; do :: z<NF -> pgid[z]=NONE; z++ :: else -> break od; hold[0]=NONE; hold[1]=NONE; intent[0]=NONE; intent[1]=NONE; z=0 }
 atomic{ run S(0,NK0); run S(1,NK1); run E(); run reaper(1); run reaper(2) } }

#define TOFREE(f) st[f]=FREE; ow[f]=0; gen[f]=(gen[f]+1)%NG
#if MUT==1
#define UNCLAIM(f) st[f]=FREE; ow[f]=0                   /* given back with the generation it had */
#else
#define UNCLAIM(f) TOFREE(f)
#endif

proctype S(byte s; byte NK) { byte k=0, p, f, g, n;
  do
  :: k<NK -> k++;
     if :: p=0 :: NP>1 -> p=1 fi;
look:
     atomic{ f=tf[p]; g=tg[p]; if :: f==NONE -> goto load :: else fi }
     atomic{ if :: MUT!=7 && gen[f]!=g -> goto load              /* stale */
                :: st[f]==FREE -> goto load
#if MUT==9
                :: st[f]==EVICTING -> goto load                  /* "it is on its way out" */
#endif
                :: MUT==7 && st[f]!=CLAIMED -> g=gen[f]
                :: else fi;
             if :: gen[f]==g && st[f]==CLAIMED -> goto join :: else fi }
     atomic{ hold[s]=f; DIE(s) }
#if !NOP
     atomic{ if :: sty[f] -> goto p3 :: else fi }
     sty[f]=1;
#endif
p3:  atomic{ if :: gen[f]==g && st[f]==VALID
                :: gen[f]==g && st[f]==EVICTING -> st[f]=VALID; ow[f]=0       /* rescue */
                :: else -> hold[s]=NONE; goto look fi; DIE(s) }
#if MUT!=7
     if :: pgid[f]!=p -> assert(0) :: else fi;
#else
     if :: pgid[f]!=p -> hold[s]=NONE; goto look :: else fi;
#endif
     atomic{ assert(LIVEST(f) && pgid[f]==p && byt[f] && gen[f]==g); DIE(s) }
     goto rel;
join:
     atomic{ !(st[f]==CLAIMED && gen[f]==g) -> goto look }
load:                                                            /* f,g: what the entry said */
     if :: st[0]==FREE -> n=0 :: st[1]==FREE -> n=1 :: else -> goto nxt fi;
#if MUT!=8
     atomic{ intent[s]=n; DIE(s) }
#endif
     atomic{ if :: st[n]==FREE -> st[n]=CLAIMED; ow[n]=s; byt[n]=0 :: else -> intent[s]=NONE; goto look fi; DIE(s) }
#if MUT==8
     atomic{ intent[s]=n; DIE(s) }
#endif
     atomic{ if :: !NOP -> sty[n]=0 :: else fi; pgid[n]=p; DIE(s) }                       /* mine alone */
     hold[s]=n;
#if !NOP
     atomic{ sty[n]=1; DIE(s) }
#endif
#if MUT==4
     byt[n]=1; atomic{ st[n]=VALID; ow[n]=0; ONE(p); DIE(s) }
#endif
     atomic{ if :: tf[p]==f && (f==NONE || tg[p]==g) || MUT==6 -> tf[p]=n; tg[p]=gen[n]; DIE(s)
                :: else -> UNCLAIM(n); DIE(s); hold[s]=NONE; intent[s]=NONE; goto look fi }
#if MUT!=4
     if :: atomic{ byt[n]=1; DIE(s) }                            /* the read */
        :: atomic{ EIO -> UNCLAIM(n); DIE(s) } hold[s]=NONE; intent[s]=NONE; goto nxt        /* EIO */
     fi;
     atomic{ assert(st[n]==CLAIMED && ow[n]==s); st[n]=VALID; ow[n]=0; ONE(p); DIE(s) }
#endif
     atomic{ assert(LIVEST(n) && pgid[n]==p && byt[n]); intent[s]=NONE; DIE(s) }
rel: hold[s]=NONE;
nxt: atomic{ f=0; g=0; n=0; p=0 }
  :: else -> break
  od;
out: atomic{ f=0; g=0; n=0; p=0; k=0; NK=0 }
}

proctype E() { byte k=0, f, g, p; bool busy;
  do
  :: k<NE -> k++;
     if :: f=0 :: f=1 fi;
     atomic{ if :: st[f]==VALID -> st[f]=EVICTING; ow[f]=EV; g=gen[f] :: else -> goto nxt fi; DIE(EV) }
     atomic{ busy=(NOP || sty[f]) && hold[0]==f }
     atomic{ busy=busy || ((NOP || sty[f]) && hold[1]==f); p=pgid[f] }
     if :: busy -> atomic{ if :: st[f]==EVICTING && ow[f]==EV -> st[f]=VALID; ow[f]=0; ONE(p) :: else fi }; goto nxt :: else fi;
#if MUT==2
     atomic{ if :: tf[p]==f && tg[p]==g -> tf[p]=NONE; tg[p]=0 :: else fi; DIE(EV) }          /* entry before the deciding CAS */
#endif
     atomic{ if :: st[f]==EVICTING && ow[f]==EV && gen[f]==g -> TOFREE(f) :: else -> goto nxt fi; DIE(EV) }
#if MUT!=2 && !NOTIDY
     atomic{ if :: tf[p]==f && tg[p]==g -> tf[p]=NONE; tg[p]=0 :: else fi }                    /* tidying, may be left out */
#endif
nxt: atomic{ f=0; g=0; p=0; busy=0 }
  :: else -> break
  od;
out: atomic{ f=0; g=0; p=0; busy=0; k=0 }
}

/* rlock: the dead slot's byte lock; the kernel frees it when reaper 1 dies. One lock for all slots here. */
#define RDIE if :: me==1 && crashes<MAXC -> crashes++; rdead=1; atomic{ rlock=0; goto out } :: true fi
proctype reaper(byte me) { byte f;
  do
  :: atomic{ rlock==0 && dead[0] && (hold[0]!=NONE || intent[0]!=NONE) -> rlock=me } 
     if :: intent[0]!=NONE -> atomic{ f=intent[0]; if :: st[f]==CLAIMED && ow[f]==0 -> UNCLAIM(f) :: else fi; RDIE } :: else fi;
     atomic{ intent[0]=NONE; RDIE } atomic{ hold[0]=NONE; RDIE } atomic{ rlock=0; f=0 }
  :: atomic{ rlock==0 && dead[1] && (hold[1]!=NONE || intent[1]!=NONE) -> rlock=me }
     if :: intent[1]!=NONE -> atomic{ f=intent[1]; if :: st[f]==CLAIMED && ow[f]==1 -> UNCLAIM(f) :: else fi; RDIE } :: else fi;
     atomic{ intent[1]=NONE; RDIE } atomic{ hold[1]=NONE; RDIE } atomic{ rlock=0; f=0 }
  :: atomic{ dead[EV] && st[0]==EVICTING -> st[0]=VALID; ow[0]=0 }
  :: atomic{ dead[EV] && st[1]==EVICTING -> st[1]=VALID; ow[1]=0 }
  :: timeout -> f=0; do :: f<NF -> assert(st[f]==FREE || st[f]==VALID); assert(st[f]!=VALID || (tf[pgid[f]]==f && tg[pgid[f]]==gen[f] && byt[f])); f++ :: else -> break od;
     assert(hold[0]==NONE && hold[1]==NONE); break
  od;
out: f=0
}
