/* Every kind of instruction that writes memory, as far as this processor has it. What they leave in registers is summed up. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

static const uint8_t table[256] __attribute__((aligned(64))) = {
    3,   141, 59,  26,  53,  58,  97,  93,  238, 46,  26,  43,  38,  32,  79,  50,  28,  84,  19,  71,  169, 39,
    93,  75,  10,  58,  209, 74,  94,  45,  92,  230, 78,  164, 6,   28,  62,  89,  98,  62,  80,  34,  82,  53,
    42,  117, 67,  98,  214, 80,  86,  51,  132, 82,  30,  66,  47,  9,   38,  44,  60,  95,  50,  58};

static uint64_t sum;

/* A general instruction: rax, rcx, rdx and r9 have known values, and what becomes of them counts, flags too. */
#define GENERAL(text)                                                                                                  \
  {                                                                                                                    \
    uint64_t a = 0x1122334455667788, c = 3, d = 0xfedcba9876543210, n = 0x0f1e2d3c4b5a6978, flags;                     \
    __asm__ volatile("stc\n\t" text "\n\tpushfq\n\tpop %4"                                                             \
                     : "+a"(a), "+c"(c), "+d"(d), "+r"(n), "=&r"(flags)                                                \
                     : "r"(p), "r"(i)                                                                                  \
                     : "memory", "cc", "r9", "r10");                                                                   \
    sum = sum * 31 + a + c * 3 + d * 5 + n * 7 + (flags & 0xc1);                                                       \
    p += 24;                                                                                                           \
  }

/* A vector instruction, with the registers that `load` names filled from the table. */
#define VECTOR(load, text)                                                                                             \
  {                                                                                                                    \
    __asm__ volatile(load "\n\t" text : : "r"(p), "r"(i), "r"(table) : "memory", "cc", VECTORS "rax", "r9");           \
    p += 40;                                                                                                           \
  }

static uint8_t *general(uint8_t *p) {
  uint64_t i = 1;
  GENERAL("movb %%al, (%5)")
  GENERAL("push %%rbx\n\tmov %5, %%rbx\n\tmovb %%ah, 1(%%rbx)\n\tmovb %%dh, 2(%%rbx)\n\tpop %%rbx")
  GENERAL("movb %b3, 2(%5,%6)")
  GENERAL("movw %%ax, 3(%5)")
  GENERAL("movl %%eax, 5(%5,%6,4)")
  GENERAL("movq %3, (%5,%6,8)")
  GENERAL("mov %%rdx, %%r9\n\tmovq %%r9, 0x10(%5)")
  GENERAL("movb $7, (%5)")
  GENERAL("movw $0x1234, (%5)")
  GENERAL("movl $0x12345678, (%5)")
  GENERAL("movq $-5, (%5)")
  GENERAL("movnti %%rax, (%5)")
  GENERAL("addb $200, (%5)\n\tadcb $100, (%5)")
  GENERAL("addq %%rax, (%5)\n\tadcq %%rax, (%5)\n\tsbbl %%edx, 4(%5)")
  GENERAL("orl $0x10203, (%5)\n\tandw %%ax, (%5)\n\txorb %%dl, 1(%5)\n\tsubq $3, (%5)")
  GENERAL("incl (%5)\n\tdecw 4(%5)\n\tnotq (%5)\n\tnegb 2(%5)")
  GENERAL("movq %%rax, (%5)\n\tshlq $5, (%5)\n\tshrl %%cl, (%5)\n\tsarw $1, 2(%5)\n\trolb %%cl, 7(%5)\n\trcrq $1, (%5)")
  GENERAL("shldq $9, %%rdx, (%5)\n\tshrdl %%cl, %%edx, 8(%5)")
  GENERAL("setc (%5)\n\tsetz 1(%5)\n\tsetnbe 2(%5)")
  GENERAL("btsl $4, (%5)\n\tbtcl $4, (%5)\n\tbtrl $5, (%5)")
  GENERAL("xchg %%rax, (%5)\n\txchg %%dl, 3(%5)")
  GENERAL("lock xaddq %%rdx, (%5)\n\txaddb %%dl, (%5)")
  GENERAL("xor %%eax, %%eax\n\tlock cmpxchgl %%edx, (%5)\n\tsetz %%al\n\tlock cmpxchgl %%edx, (%5)")
  GENERAL("lock addl $9, (%5)\n\tlock incq 8(%5)")
  GENERAL("bswap %%rax\n\tmovq %%rax, (%5)")
  p = (uint8_t *)(((uintptr_t)p + 15) & ~15ul);
  GENERAL("push %%rbx\n\tmov %%rcx, %%rbx\n\txor %%eax, %%eax\n\txor %%edx, %%edx\n\tlock cmpxchg16b (%5)\n\tpop %%rbx")
  p = (uint8_t *)(((uintptr_t)p + 15) & ~15ul);
  if (__builtin_cpu_supports("movbe"))
    GENERAL("movbe %%rax, (%5)\n\tmovbe %%ax, 9(%5)")
  /* Strings, forward, backward, and over themselves. */
  uint8_t *to = p;
  uint64_t count = 61;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x5a) : "memory");
  count = 7;
  __asm__ volatile("rep stosq\n\tstosw\n\tstosl" : "+D"(to), "+c"(count) : "a"(0x0102030405060708) : "memory");
  const uint8_t *from = table;
  count = 33;
  __asm__ volatile("rep movsb\n\tmovsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  from = p, to = p + 3, count = 40;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  from = p + 60, to = p + 70, count = 30;
  __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  sum = sum * 31 + (uint64_t)(to - p) + (uint64_t)(from - p) + count;
  return p + 256;
}

static uint8_t *floats(uint8_t *p) {
  double x = 3.25;
  long double wide;
  __asm__ volatile("fldl %1\n\tfstl (%2)\n\tfsts 8(%2)\n\tfldpi\n\tfistpl 12(%2)\n\tfld %%st(0)\n\tfistps 16(%2)\n\t"
                   "fld1\n\tfisttpll 24(%2)\n\tfldl2e\n\tfstpt 32(%2)\n\tfnstcw 44(%2)\n\tfnstsw 46(%2)\n\tfstpt %0"
                   : "=m"(wide)
                   : "m"(x), "r"(p)
                   : "memory");
  sum = sum * 31 + (uint64_t)(wide * 8);
  __asm__ volatile("stmxcsr 48(%0)" : : "r"(p) : "memory");
  return p + 64;
}

#define VECTORS "xmm0", "xmm1", "xmm8",

static uint8_t *vectors(uint8_t *p) {
  uint64_t i = 2;
  VECTOR("movups (%2), %%xmm1", "movups %%xmm1, (%0)")
  VECTOR("movups 3(%2), %%xmm8", "movdqu %%xmm8, 1(%0,%1,4)")
  VECTOR("movups (%2), %%xmm1", "movss %%xmm1, (%0)\n\tmovsd %%xmm1, 8(%0)\n\tmovlps %%xmm1, 16(%0)\n\tmovhpd %%xmm1, 24(%0)")
  VECTOR("movups (%2), %%xmm1", "movd %%xmm1, (%0)\n\tmovq %%xmm1, 5(%0)")
  p = (uint8_t *)(((uintptr_t)p + 15) & ~15ul);
  VECTOR("movups (%2), %%xmm1", "movaps %%xmm1, (%0)\n\tmovntdq %%xmm1, 16(%0)")
  p = (uint8_t *)(((uintptr_t)p + 15) & ~15ul);
  VECTOR("movups (%2), %%xmm1", "movdqa %%xmm1, (%0)\n\tmovntps %%xmm1, 16(%0)")
  if (__builtin_cpu_supports("sse4.1"))
    VECTOR("movups (%2), %%xmm1", "pextrb $3, %%xmm1, (%0)\n\tpextrw $2, %%xmm1, 1(%0)\n\tpextrd $1, %%xmm1, 3(%0)\n\tpextrq $1, %%xmm1, 8(%0)\n\textractps $2, %%xmm1, 17(%0)")
  __asm__ volatile("movq (%1), %%mm0\n\tmovq %%mm0, (%0)\n\tmovd %%mm0, 9(%0)\n\tmovntq %%mm0, 16(%0)\n\temms" : : "r"(p), "r"(table) : "memory");
  p += 32;
  if (__builtin_cpu_supports("avx")) {
    VECTOR("vmovups (%2), %%ymm1", "vmovups %%ymm1, (%0)")
    VECTOR("vmovups 5(%2), %%ymm8", "vmovdqu %%ymm8, 1(%0,%1,2)")
    VECTOR("vmovups (%2), %%ymm1", "vextractf128 $1, %%ymm1, (%0)\n\tvmovss %%xmm1, 17(%0)\n\tvmovq %%xmm1, 24(%0)")
    VECTOR("vmovups (%2), %%ymm1\n\tvmovups 7(%2), %%ymm0", "vmaskmovps %%ymm1, %%ymm0, (%0)")
    VECTOR("vmovups (%2), %%ymm1\n\tvmovups 9(%2), %%ymm0", "vmaskmovpd %%ymm1, %%ymm0, (%0)")
    __asm__ volatile("vzeroupper" ::: VECTORS "cc");
  }
  if (__builtin_cpu_supports("avx2")) {
    VECTOR("vmovups (%2), %%ymm1\n\tvmovups 7(%2), %%ymm0", "vpmaskmovd %%ymm1, %%ymm0, (%0)")
    VECTOR("vmovups (%2), %%ymm1", "vextracti128 $1, %%ymm1, (%0)\n\tvpextrd $2, %%xmm1, 16(%0)")
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"))
    VECTOR("vmovups (%2), %%ymm1", "vcvtps2ph $0, %%ymm1, (%0)")
  return p;
}

#undef VECTORS
#define VECTORS "xmm0", "xmm1", "xmm16", "xmm31", "k1", "k2",

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c"))) static uint8_t *widest(uint8_t *p) {
  uint64_t i = 2;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return p;
#define MASKS "mov $0x5a5a5a5a5a5aa5a5, %%rax\n\tkmovq %%rax, %%k1\n\tvmovups (%2), %%zmm1\n\tvmovups 11(%2), %%zmm31\n\t"
  p = (uint8_t *)(((uintptr_t)p + 63) & ~63ul);
  VECTOR(MASKS, "vmovups %%zmm1, (%0)")
  p += 24;
  VECTOR(MASKS, "vmovntdq %%zmm31, (%0)\n\tvmovaps %%zmm1, 0x40(%0)")
  p += 88;
  VECTOR(MASKS, "vmovdqu8 %%zmm31, (%0)%{%%k1%}\n\tvmovdqu32 %%zmm1, 0x80(%0)%{%%k1%}")
  p += 152;
  VECTOR(MASKS, "vmovdqu64 %%ymm31, 0x20(%0,%1,8)\n\tvmovdqu16 %%xmm1, (%0)%{%%k1%}")
  p += 72;
  VECTOR(MASKS, "vpmovqb %%zmm1, (%0)\n\tvpmovdw %%zmm31, 8(%0)\n\tvpmovuswb %%zmm1, 0x20(%0)%{%%k1%}")
  p += 40;
  VECTOR(MASKS, "vpcompressd %%zmm31, 4(%0)%{%%k1%}")
  p += 40;
  VECTOR(MASKS, "vextracti32x4 $2, %%zmm1, 0x10(%0)\n\tvextracti64x4 $1, %%zmm31, 0x20(%0)")
  p += 40;
  VECTOR(MASKS, "kmovw %%k1, (%0)\n\tkmovq %%k1, 8(%0)\n\tvmovss %%xmm31, 16(%0)\n\tvmovsd %%xmm31, 24(%0)\n\tvmovd %%xmm31, 36(%0)")
  VECTOR(MASKS, "vpextrw $3, %%xmm31, 2(%0)\n\tvpextrq $1, %%xmm31, 8(%0)\n\tvcvtps2ph $0, %%zmm1, 0x20(%0)")
  p += 64;
  /* To many places at once. */
  VECTOR(MASKS "vpmovzxbd (%2), %%zmm0\n\tkmovw %%k1, %%k2", "vpscatterdd %%zmm1, 4(%0,%%zmm0,4)%{%%k2%}\n\tkmovw %%k2, 2(%0)")
  p += 1024;
  VECTOR(MASKS "vpmovzxbq (%2), %%zmm0\n\tkmovw %%k1, %%k2", "vscatterqpd %%zmm31, 8(%0,%%zmm0,8)%{%%k2%}")
  p += 2048;
  VECTOR(MASKS "vpmovzxbd 9(%2), %%ymm0\n\tkmovw %%k1, %%k2", "vpscatterdq %%zmm31, (%0,%%ymm0,8)%{%%k2%}")
  p += 2048;
  VECTOR(MASKS "vpmovzxbq 9(%2), %%ymm16\n\tkmovw %%k1, %%k2", "vscatterqps %%xmm31, (%0,%%ymm16,2)%{%%k2%}")
  p += 600;
  __asm__ volatile("vzeroupper" ::: VECTORS "cc");
  return p;
}

/* Needs less than 16 KiB. Says how far it went, and a sum of all that is not memory. */
uint64_t stores(uint8_t *memory) {
  sum = 0;
  uint8_t *p = widest(vectors(floats(general(memory))));
  return sum * 65536 + (uint64_t)(p - memory);
}

struct work {
  volatile uint32_t *place;
  int count;
};

static void *count_up(void *given) {
  struct work *work = given;
  for (int n = 1; n <= work->count; n++)
    *work->place = (uint32_t)n;
  return 0;
}

/* Two threads that Python does not know, each counting in a place of its own. */
void two_threads(uint8_t *memory, int count) {
  struct work work[2] = {{(uint32_t *)memory, count}, {(uint32_t *)(memory + 64), count}};
  pthread_t threads[2];
  for (int n = 0; n < 2; n++)
    pthread_create(&threads[n], 0, count_up, &work[n]);
  for (int n = 0; n < 2; n++)
    pthread_join(threads[n], 0);
}

/* With every signal blocked. */
void blocked(uint8_t *memory) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  memory[0]++;
  pthread_sigmask(SIG_SETMASK, &before, 0);
}

/* An instruction that the tracer does not know. */
void unknown(uint8_t *memory) {
  uint64_t bit = 9;
  __asm__ volatile("btsq %1, (%0)" : : "r"(memory), "r"(bit) : "memory", "cc");
}

/* Calls itself until there is no stack any more. */
int overflow(int depth) {
  volatile char room[4096];
  room[depth & 4095] = (char)depth;
  return overflow(depth + 1) + room[7];
}
