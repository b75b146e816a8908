/* SPDX-License-Identifier: MIT */
/* (d) flush, mtr, evict, reload of one page; mtr session, writer, evictor, loader die at any step; a dead writer's write goes on in the device;
 * a standby takes over. Asserts: a reload always brings the last committed value; in the end
 * what is in the pool is the committed value, and if it is clean or not in the pool the disk has it.
 * DFIRST=1: dirty is marked before the commit point (needed with a log, B5). SHIMG=1: the writer may take an image from the shadow. */
#ifndef MUT
#define MUT 0
#endif
#ifndef DFIRST
#define DFIRST 0
#endif
#ifndef SHIMG
#define SHIMG 0
#endif
#ifndef NM
#define NM 2
#endif
#ifndef NW
#define NW 2
#endif
#ifndef NE
#define NE 1
#endif
#ifndef NL
#define NL 1
#endif
#ifndef PF
#define PF 0
#endif
#ifndef MAXC
#define MAXC 2
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3
#define NONE 15
byte fst=VALID;                       /* owner of EVICTING is E, of CLAIMED is L */
byte val=0, disk=0, cm=0;
bool lx=0; byte ver=0; byte hold=0;
bool dd=0; byte ds=0;                 /* dirty word {dirty, serial}, one word */
byte shv=0, ms=0; bool shok=0;          /* M's slot: shadow bytes, mtr word (0, 1 ACTIVE, 2 COMMITTED), entry has a shadow */
byte ent=0;                           /* the table entry's {frame, generation}: new at every insertion, left standing when the page goes */
byte infl[2]; bool mdead=0, w1dead=0, edead=0, ldead=0; byte crashes=0; bool w0end=0;
#define DIE(x) if :: crashes<MAXC -> crashes++; x=1; goto out :: true fi
init { atomic{ infl[0]=NONE; infl[1]=NONE; run M(); run W(0); run W(1); run E(); run L(); run P(); run dev(); run reaper() } }
#if MUT==2
#define MARK dd=1                     /* no serial */
#elif MUT==12
#define MARK if :: !dd -> dd=1; ds=ds+1 :: else fi     /* "it is dirty already" */
#else
#define MARK dd=1; ds=ds+1
#endif

proctype M() { byte k=0;
  do :: k<NM -> k++;
     atomic{ if :: fst==VALID || fst==EVICTING -> fst=VALID; hold=1 :: else -> goto nx fi; DIE(mdead) }   /* pin: model (a) */
     atomic{ ms=1; shok=0; DIE(mdead) }
     atomic{ lx==0 -> lx=1; DIE(mdead) }
     atomic{ shv=val; shok=1; DIE(mdead) }
     atomic{ val=val+1; DIE(mdead) }
     if :: true ->
#if DFIRST
           atomic{ MARK; DIE(mdead) }
           atomic{ ms=2; cm++; DIE(mdead) }
#elif MUT==10
           atomic{ ms=2; cm++; DIE(mdead) }
           atomic{ lx=0; ver++; DIE(mdead) }
           atomic{ hold=0; DIE(mdead) }
           atomic{ MARK; DIE(mdead) }                  /* marked after the pin is gone */
#else
           atomic{ ms=2; cm++; DIE(mdead) }
           atomic{ MARK; DIE(mdead) }
#endif
        :: atomic{ val=shv; DIE(mdead) }               /* abort */
     fi;
     atomic{ if :: MUT!=10 || lx -> lx=0; ver++ :: else fi; DIE(mdead) }
     atomic{ ms=0; shok=0; DIE(mdead) }
     hold=0;
nx:  skip
  :: else -> break od;
out: atomic{ k=0 } }

proctype W(bool me) { byte k=0, s, v, img, m0; bool clr;
  if :: me==1 ->
#if MUT==4
     skip                                              /* a second queue that knows nothing of the first: two writes of one page in flight */
#elif MUT==3
     atomic{ w0end }                                   /* no fence */
#else
     atomic{ w0end && infl[0]==NONE }                  /* the file lock: the old writer is dead and drained */
#endif
  :: else fi;
  do :: k<NW -> k++; clr=1;
#if MUT!=9
     atomic{ if :: dd -> s=ds :: else -> goto nx fi }
#endif
     atomic{ if :: (fst==VALID || fst==EVICTING) && !lx -> v=ver
#if SHIMG || MUT==6 || MUT==15
                :: (fst==VALID || fst==EVICTING) && lx && shok -> v=ver; clr=0
#endif
                :: else -> goto nx fi }
     if :: clr -> img=val; atomic{ if :: (fst==VALID || fst==EVICTING) && !lx && ver==v :: else -> goto nx fi }
        :: else -> img=shv; atomic{ if :: lx && shok && ver==v && (ms==1 || MUT==6) :: else -> goto nx fi }
     fi;
#if MUT==6 || MUT==15
     clr=1;                                            /* 15: allowed to clear, mtr word seen ACTIVE after the copy */
#endif
#if MUT==9
     atomic{ if :: dd -> s=ds :: else -> goto nx fi }  /* dirty word read after the copy */
#endif
#if MUT==7
     atomic{ if :: clr && dd && ds==s -> dd=0 :: else fi }     /* cleared when submitted */
#endif
     atomic{ infl[me]=img; if :: me==0 && crashes<MAXC -> crashes++; w1dead=1; goto out :: true fi }
     atomic{ infl[me]==NONE; if :: me==0 && crashes<MAXC -> crashes++; w1dead=1; goto out :: true fi }
#if MUT==1
     atomic{ if :: clr && ver==v && !lx -> skip :: else -> goto nx fi }   /* design.md as written: the version is the one copied ... */
     dd=0;                                             /* ... so it is clean */
#elif MUT!=7
     atomic{ if :: clr && dd && ds==s -> dd=0 :: else fi; if :: me==0 && crashes<MAXC -> crashes++; w1dead=1; goto out :: true fi }
#endif
nx:  atomic{ s=0; v=0; img=0; clr=0 }
  :: else -> break od;
out: atomic{ k=0; s=0; v=0; img=0; clr=0; if :: me==0 -> w0end=1 :: else fi } }

proctype dev() { do :: atomic{ infl[0]!=NONE -> disk=infl[0]; infl[0]=NONE }
                    :: atomic{ infl[1]!=NONE -> disk=infl[1]; infl[1]=NONE }
                    :: timeout -> break od }

proctype E() { byte k=0; bool b, d;
  do :: k<NE -> k++;
#if MUT==5
     d=dd;
#endif
     atomic{ if :: fst==VALID -> fst=EVICTING :: else -> goto nx fi; DIE(edead) }
#if MUT==11
     d=dd; b=hold;                                     /* dirty word before the scan */
#elif MUT==5
     b=hold;
#else
     b=hold;
     d=dd;
#endif
     if :: b || d -> atomic{ if :: fst==EVICTING -> fst=VALID :: else fi }
        :: else -> atomic{ if :: fst==EVICTING -> fst=FREE :: else fi; DIE(edead) }
     fi;
nx:  atomic{ b=0; d=0 }
  :: else -> break od;
out: atomic{ k=0; b=0; d=0 } }

proctype L() { byte k=0, pm;
  do :: k<NL -> k++;
#if MUT==8
     pm=disk;                                          /* read ahead into private memory before the entry is inserted */
     atomic{ if :: fst==FREE -> fst=CLAIMED; ent++ :: else -> goto nx fi; DIE(ldead) }
#else
     atomic{ if :: fst==FREE -> fst=CLAIMED; ent++ :: else -> goto nx fi; DIE(ldead) }
     atomic{ pm=disk; DIE(ldead) }
#endif
     atomic{ val=pm; DIE(ldead) }
     atomic{ assert(!dd && val==cm && fst==CLAIMED); fst=VALID }
nx:  pm=0
  :: else -> break od;
out: atomic{ k=0; pm=0 } }

/* PF=1: reads ahead into private memory without holding anything, and inserts only if the entry is word for word the stale one it saw before the read */
proctype P() { byte e, pm, k=0;
#if PF
  do :: k<2 -> k++;
     atomic{ if :: fst==FREE -> e=ent :: else -> goto nx fi }
     pm=disk;
     atomic{ if :: fst==FREE && (ent==e || MUT==16) -> fst=4; ent++ :: else -> goto nx fi }
     val=pm;
     atomic{ assert(!dd && val==cm && fst==4); fst=VALID }     /* 4: CLAIMED by P */
nx:  atomic{ e=0; pm=0 }
  :: else -> break od;
#endif
  k=0 }

proctype reaper() {
  do
  :: atomic{ mdead && lx -> skip }
     if :: ms==1 && shok -> val=shv
#if MUT==14
        :: ms==2 -> dd=1; ds=ds+1                     /* flag and serial in two words */
#elif MUT!=13
        :: atomic{ ms==2 -> MARK }
#endif
        :: else fi;
     atomic{ lx=0; ver++ }
  :: atomic{ mdead && !lx && (ms || hold) -> ms=0; shok=0 } hold=0
  :: atomic{ edead && fst==EVICTING -> fst=VALID }
  :: atomic{ ldead && fst==CLAIMED -> fst=FREE }
  :: timeout -> assert(!lx && !hold && (fst==FREE || fst==VALID) && infl[0]==NONE && infl[1]==NONE);
     assert(fst==FREE || val==cm); assert((fst==VALID && dd) || disk==cm); break
  od }
