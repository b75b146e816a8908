/* SPDX-License-Identifier: MIT */
/* (a) pin + shared latch + exclusive latch + evict, two sticky words, rescue CAS; any participant may die at any step.
 * One frame. R reads under S (one hold entry: pin and S at once), W changes under X with a pin, NE evictors evict and reload
 * another page into the same frame, the reaper cleans up.
 * Each line with atomic{} is one access to shared memory (a CAS is one). MUT picks a mistake; GROUP=1: R and W share one sticky bit. */
#ifndef MUT
#define MUT 0
#endif
#ifndef GROUP
#define GROUP 0
#endif
#ifndef RR
#define RR 2          /* rounds of reader, writer, evictor */
#endif
#ifndef RW
#define RW 2
#endif
#ifndef RE
#define RE 2
#endif
#ifndef NE
#define NE 1
#endif
#ifndef MAXC
#define MAXC 2        /* deaths in one run */
#endif
#ifndef NOP
#define NOP 0         /* 1: no sticky word for pins, the evictor scans every slot (once a batch) */
#endif
#define FREE 0
#define CLAIMED 1
#define VALID 2
#define EVICTING 3
#ifndef NGEN
#define NGEN 16
#endif
byte fst=VALID, fown=0, gen=0, tag=1; /* frame word {state, owner, generation} and page id */
bool lx=0; byte ver=0;                /* latch word: X by W; version */
byte hold[2];                         /* 0 none, 1 pin, 2 pin+S */
bool stP[2], stS[2];
bool dead[2], edead[2]; byte crashes=0;
byte a=0, b=0;                        /* page bytes: a==b unless X held */
bool dw=0; byte disk=0;               /* dirty; page 1 on disk (only page 1 is changed) */
byte committed=0;                     /* what page 1 must hold */
#if GROUP==1
#define G(i) 0
#else
#define G(i) i
#endif
#define DIE(i)  if :: crashes<MAXC -> crashes++; dead[i]=1; goto out :: true fi
#define EDIE    if :: crashes<MAXC -> crashes++; edead[i]=1; goto out :: true fi
#define OKPIN(g,w) assert(gen==g && tag==w && (fst==VALID || fst==EVICTING))
#if MUT==11
#define MINE (fst==EVICTING)          /* no owner in the word */
#else
#define MINE (fst==EVICTING && fown==i)
#endif

active proctype R() { byte g, w, v, k=0;
  do
  :: k<RR -> k++;
     atomic{ if :: fst==VALID||fst==EVICTING -> g=gen; w=tag :: else -> goto nxt fi }
     atomic{ if :: !lx -> v=ver :: else -> goto nxt fi }
     atomic{ hold[0]=2; DIE(0) }
#if MUT!=2 && !NOP
     atomic{ if :: stP[G(0)] -> goto s2 :: else fi }
     atomic{ stP[G(0)]=1; DIE(0) }
#endif
s2:  atomic{ if :: stS[G(0)] -> goto s3 :: else fi }
     atomic{ stS[G(0)]=1; DIE(0) }
s3:  atomic{ if :: (MUT==6 || gen==g) && tag==w && fst==VALID
                :: (MUT==6 || gen==g) && tag==w && fst==EVICTING -> fst=VALID; fown=0    /* rescue */
                :: else -> goto rel fi; DIE(0) }
     OKPIN(g,w);
s4:  atomic{ if :: !lx && (ver==v) :: else -> goto nos fi; DIE(0) }
     atomic{ assert(a==b); OKPIN(g,w); DIE(0) }          /* S held */
     atomic{ assert(a==b); OKPIN(g,w) }
     goto rel;
nos: hold[0]=1;                                          /* keep the pin, wait for X to go, try again */
     atomic{ !lx -> OKPIN(g,w); v=ver; DIE(0) }
     hold[0]=2;
     atomic{ if :: stS[G(0)] -> goto s4 :: else fi }
     atomic{ stS[G(0)]=1; goto s4 }
rel: hold[0]=0;
nxt: atomic{ g=0; w=0; v=0 }
  :: else -> break
  od;
out: atomic{ g=0; w=0; v=0; k=0 }
}

active proctype W() { byte g, k=0;
  do
  :: k<RW -> k++;
     atomic{ if :: (fst==VALID||fst==EVICTING) && tag==1 -> g=gen :: else -> goto nxt fi }
#if MUT!=8
     atomic{ hold[1]=1; DIE(1) }
#if !NOP
     atomic{ if :: stP[G(1)] -> goto s3 :: else fi }
     atomic{ stP[G(1)]=1; DIE(1) }
#endif
#endif
s3:  atomic{ if :: (MUT==6 || gen==g) && tag==1 && fst==VALID
                :: (MUT==6 || gen==g) && tag==1 && fst==EVICTING -> fst=VALID; fown=0
                :: else -> goto rel fi; DIE(1) }
     OKPIN(g,1);
     atomic{ assert(!lx); lx=1; DIE(1) }
     atomic{ !(stS[G(0)] && hold[0]==2); DIE(1) }        /* S holders have gone */
     atomic{ stS[0]=0; stS[1]=0;
#if MUT==3
             stP[0]=0; stP[1]=0;                         /* one sticky word for pins and S */
#endif
             DIE(1) }
     atomic{ OKPIN(g,1); a++; DIE(1) }
     atomic{ b++; DIE(1) }
     atomic{ OKPIN(g,1); committed=a; DIE(1) }           /* commit point */
     atomic{ dw=1; DIE(1) }
     atomic{ lx=0;
#if MUT!=4
             ver=(ver+1)%4;
#endif
             DIE(1) }
rel: hold[1]=0;
nxt: g=0
  :: else -> break
  od;
out: atomic{ g=0; k=0 }
}

active [NE] proctype E() { byte k=0, i; bool busy, d; i=_pid-2;
  do
  :: k<RE -> k++;
#if MUT==10
     d=dw;                                               /* dirty looked at too early */
#endif
     atomic{ if :: fst==VALID -> fst=EVICTING; fown=i
                :: fst==EVICTING && fown!=i -> fst=VALID; fown=0; goto nxt    /* any hand may take it back */
                :: else -> goto nxt fi; EDIE }
     atomic{ busy=0; if :: (NOP || stP[G(0)]) && hold[0] -> busy=1 :: else fi }
     atomic{ if :: (NOP || stP[G(1)]) && hold[1] -> busy=1 :: else fi }
#if MUT!=10
     d=dw;
#endif
     if :: busy || d ->
           atomic{ if :: MINE -> fst=VALID; fown=0 :: else fi }
           atomic{ if :: dw && !lx && !hold[1] -> assert(tag==1 && a==b); disk=a; dw=0 :: else fi }; goto nxt  /* a cleaner, all in one step */
        :: else fi;
#if MUT==1
     atomic{ stP[0]=0; stP[1]=0 }                        /* design.md as written: sticky before the last CAS */
#endif
     atomic{ if :: MINE -> fst=FREE; fown=0; gen=(gen+1)%NGEN; assert(!dw) :: else -> goto nxt fi; EDIE }
     atomic{ if :: fst==FREE -> fst=CLAIMED; fown=i :: else -> goto nxt fi; EDIE }
#if MUT!=5 && MUT!=1
#if !NOP
     atomic{ stP[0]=0; stP[1]=0; EDIE }
     atomic{ stS[0]=0; stS[1]=0; EDIE }
#endif
#endif
     atomic{ tag=3-tag; if :: tag==1 -> a=disk; b=disk; assert(disk==committed) :: else -> a=7; b=7 fi; EDIE }
     atomic{ assert(fst==CLAIMED); fst=VALID; fown=0; EDIE }
#if MUT==5
     atomic{ stP[0]=0; stP[1]=0; EDIE }
#endif
nxt: atomic{ busy=0; d=0 }
  :: else -> break
  od;
out: atomic{ busy=0; d=0; k=0 }
}

active proctype reaper() { byte j;
  do
  :: atomic{ dead[0] && hold[0] -> hold[0]=0 }
#if MUT==7
  :: atomic{ dead[1] && hold[1] -> hold[1]=0 }           /* holds before the mtr */
#endif
  :: atomic{ dead[1] && lx -> if :: committed==a -> b=a :: else -> a=committed; b=committed fi }
     dw=1;
     atomic{ OKPIN(gen,1); lx=0; ver=(ver+1)%4 }
  :: atomic{ dead[1] && !lx && hold[1] -> hold[1]=0 }
  :: atomic{ fst==EVICTING && edead[fown] -> fst=VALID; fown=0 }
  :: atomic{ fst==CLAIMED && edead[fown] -> fst=FREE; fown=0; gen=(gen+1)%NGEN }
  :: timeout -> assert(!lx && hold[0]==0 && hold[1]==0 && a==b && (fst==FREE || fst==VALID)); break
  od
}
