/* SPDX-License-Identifier: MIT */
/* (c) mini-transaction over two pages with shadow frames from the pool; the session dies at any step, reaper 1 dies at any step, reaper 2 finishes.
 * M: NM mtrs over both pages (the second in the other order), each commits or aborts. N: one-page changes of page 0 (never dies). O: optimistic
 * reader of both pages. T: a session that takes FREE frames, scribbles over them, gives them back.
 * Page value = m + 16*n: m by M, n by N. Between mtrs m must be equal in both pages. */
#ifndef MUT
#define MUT 0
#endif
#ifndef NM
#define NM 2
#endif
#ifndef NN
#define NN 1
#endif
#ifndef NO
#define NO 1
#endif
#ifndef NT
#define NT 1
#endif
#define NONE 9
#define NIL 0
#define ACTIVE 1
#define COMMITTED 2
byte val[2]; byte lx[2]; byte ver[2]; bool dw[2];   /* pages; latch owner 0 none, 1 M, 2 N */
byte fs[2]; byte sh[2];                             /* two pool frames: 0 FREE, 1 CLAIMED(M), 3 CLAIMED(T); their bytes */
/* M's slot */
byte ms=NIL, mc=0;                                  /* mtr word: state and count, always stored together */
byte ep[2], es[2];                                  /* entries {page, shadow}, each one word */
byte shl[2];                                        /* shadow list */
bool mdead=0, r1dead=0; byte rlock=0; byte slot=1;  /* slot state: 1 LIVE, 0 FREE */
byte cm=0, cn=0;                                    /* committed by M, by N */
#define DIE if :: mdead=1; goto out :: true fi
#define VER(v) v=(v+1)%8
init { atomic{ ep[0]=NONE; ep[1]=NONE; es[0]=NONE; es[1]=NONE; shl[0]=NONE; shl[1]=NONE; run M(); run N(); run O(); run T(); run reaper(1); run reaper(2) } }

proctype M() { byte k=0, j, p, n; bool com;
  do
  :: k<NM -> k++;
#if MUT==12
     atomic{ ms=ACTIVE; DIE }                       /* old count and entries stay until overwritten */
#else
     atomic{ ms=ACTIVE; mc=0; DIE }
#endif
     j=0;
     do
     :: j<2 ->
        atomic{ p=(k==1 -> j : 1-j) }
        do :: shl[j]!=NONE -> break                 /* a shadow first */
           :: else -> if :: fs[0]==0 -> n=0 :: fs[1]==0 -> n=1 fi;
#if MUT!=11
              atomic{ shl[j]=n; DIE }
#endif
              atomic{ if :: fs[n]==0 -> fs[n]=1; n=0; DIE
#if MUT==11
                         shl[j]=(fs[0]==1 && shl[1-j]!=0 -> 0 : 1); DIE
#endif
                         :: else -> shl[j]=NONE; n=0; DIE fi }
        od;
#if MUT!=2
#if MUT==4
        atomic{ ep[j]=p; DIE }                      /* entry of two words: the shadow of the last mtr still stands there */
#else
        atomic{ ep[j]=p; es[j]=NONE; DIE }
#endif
        atomic{ ms=ACTIVE; mc=j+1; DIE }
#endif
        atomic{ lx[p]==0 -> lx[p]=1; DIE }          /* X; S holders are model (a)'s business */
        atomic{ sh[shl[j]]=val[p]; DIE }
#if MUT==2
        atomic{ ep[j]=p; es[j]=shl[j]; DIE }        /* design.md as written: recorded after latch and copy */
        atomic{ ms=ACTIVE; mc=j+1; DIE }
#endif
#if MUT==6
        atomic{ val[p]=val[p]+1; DIE }              /* pointer handed out before the shadow is recorded */
#endif
        atomic{ es[j]=shl[j]; DIE }
#if MUT!=6
        atomic{ val[p]=val[p]+1; DIE }              /* the user's change */
#endif
        j++
     :: else -> break
     od;
     if :: com=1 :: com=0 fi;
#if MUT!=9
     if :: com -> atomic{ ms=COMMITTED; cm++; DIE } :: else fi;
#endif
     j=0;
     do
     :: j<2 -> p=(k==1 -> j : 1-j);
#if MUT==9
        if :: com && j==1 -> atomic{ ms=COMMITTED; cm++; DIE } :: else fi;    /* after the first release */
#endif
        if :: com ->
#if MUT==5
              atomic{ lx[p]=0; VER(ver[p]); DIE }   /* released before marked dirty */
              atomic{ dw[p]=1; DIE }
#else
              atomic{ dw[p]=1; DIE }
              atomic{ lx[p]=0; VER(ver[p]); DIE }
#endif
           :: else ->
              atomic{ val[p]=sh[shl[j]]; DIE }
#if MUT==10
              atomic{ lx[p]=0; DIE }
#else
              atomic{ lx[p]=0; VER(ver[p]); DIE }
#endif
        fi;
        j++
     :: else -> break
     od;
     atomic{ ms=NIL; mc=0; DIE }
     atomic{ fs[shl[1]]=0; DIE }                    /* surplus shadow goes back, the first is kept */
     atomic{ shl[1]=NONE; DIE }
     com=0
  :: else -> break
  od;
out: atomic{ k=0; j=0; p=0; n=0; com=0 }
}

proctype N() { byte k=0;
  do :: k<NN -> k++;
     atomic{ lx[0]==0 -> lx[0]=2 }
     val[0]=val[0]+16;
     atomic{ cn++; lx[0]=0; VER(ver[0]) }
  :: else -> break od; k=0 }

proctype O() { byte k=0, v0, v1, a, b;
  do :: k<NO -> k++;
     atomic{ lx[0]==0 -> v0=ver[0] }
     atomic{ lx[1]==0 -> v1=ver[1] }
     a=val[0]; b=val[1];
     atomic{ if :: lx[0]==0 && ver[0]==v0 :: else -> goto bad fi }
     atomic{ if :: lx[1]==0 && ver[1]==v1 -> assert((a&15)==(b&15)) :: else fi }
bad: atomic{ v0=0; v1=0; a=0; b=0 }
  :: else -> break od; k=0 }

proctype T() { byte k=0, n;
  do :: k<NT -> k++;
     if :: fs[0]==0 -> n=0 :: fs[1]==0 -> n=1 :: mdead && slot==0 -> goto tout fi;
     atomic{ if :: fs[n]==0 -> fs[n]=3 :: else -> goto nx fi }
     sh[n]=77;
     atomic{ fs[n]=0; sh[n]=0 }
nx:  n=0
  :: else -> break od;
tout: atomic{ n=0; k=0 } }

#define RDIE if :: me==1 -> r1dead=1; rlock=0; goto out :: true fi
#define FREESH(i) if :: shl[i]!=NONE -> atomic{ if :: fs[shl[i]]==1 -> fs[shl[i]]=0 :: else fi; RDIE } atomic{ shl[i]=NONE; RDIE } :: else fi
proctype reaper(byte me) { byte j=0, s, c;
again:
  atomic{ (mdead && slot==1 && rlock==0) || timeout; if :: mdead && slot==1 && rlock==0 -> rlock=me :: else -> goto fin fi }
#if MUT==3
  FREESH(0); FREESH(1);                             /* shadows before the mtr is finished */
#endif
  atomic{ s=ms; c=mc; if :: MUT==12 && s!=NIL -> c=2 :: else fi }
  if :: s!=NIL ->
     do
     :: j<c ->
        if :: ep[j]==NONE -> goto nx :: else fi;
#if MUT==1
        if :: s==ACTIVE && es[j]!=NONE -> atomic{ val[ep[j]]=sh[es[j]]; RDIE } :: else fi;   /* without asking who holds the latch */
#endif
        if :: lx[ep[j]]!=1 -> goto nx :: else fi;
        if :: s==ACTIVE && es[j]!=NONE -> atomic{ val[ep[j]]=sh[es[j]]; RDIE }
           :: s==COMMITTED -> atomic{ dw[ep[j]]=1; RDIE }
           :: else fi;
        atomic{ if :: lx[ep[j]]==1 -> lx[ep[j]]=0; VER(ver[ep[j]]) :: else fi; RDIE }
nx:     j++
     :: else -> break
     od;
     atomic{ ms=NIL; mc=0; RDIE }
  :: else fi;
#if MUT!=3
  FREESH(0); FREESH(1);
#endif
  atomic{ slot=0; RDIE }
  atomic{ rlock=0; j=0; s=0; c=0; goto again }
fin: /* nothing to reap, everything at rest */
  if :: me==2 -> atomic{
     assert(lx[0]==0 && lx[1]==0);
     assert((val[0]&15)==cm && (val[1]&15)==cm && (val[0]/16)==cn);
     assert(cm==0 || (dw[0] && dw[1]));
     assert(!mdead || (slot==0 && ms==NIL && fs[0]==0 && fs[1]==0)) } :: else fi;
out: atomic{ j=0; s=0; c=0 }
}
