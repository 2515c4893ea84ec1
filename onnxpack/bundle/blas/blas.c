/*
 * The 57 functions of BLAS and LAPACK that numpy's extension modules link, in place of the OpenBLAS of its wheel.
 *
 * An image's own code multiplies no matrices in numpy, and onnxruntime brings its own kernels: OpenBLAS and the
 * Fortran libraries behind it would be a third of the packages' layer and never be called. Yet numpy does not load
 * without these names, and whoever opens a shell in an image may well call `dot`. So each function here either does
 * what BLAS says, or reports failure such that numpy raises `LinAlgError`. None ends the process, none guesses.
 *
 * It needs no other library, allocates nothing, and has one code path for each platform: no dispatch on the kind of
 * CPU, no fused operations, no threads. So the same call gives the same bits on each machine of a platform.
 *
 * Each type of numbers includes the same text once.
 */

#include "blas.h"

#define COMPLEX 0
#define REAL float
#define NUMBER float
#define LETTER s
#include "level1.inc"
#include "gemm.inc"
#include "level2.inc"
#include "lapack.inc"
#include "undefine.inc"

#define COMPLEX 0
#define REAL double
#define NUMBER double
#define LETTER d
#include "level1.inc"
#include "gemm.inc"
#include "level2.inc"
#include "lapack.inc"
#include "undefine.inc"

#define COMPLEX 1
#define REAL float
#define NUMBER float _Complex
#define LETTER c
#include "level1.inc"
#include "gemm.inc"
#include "level2.inc"
#include "lapack.inc"
#include "undefine.inc"

#define COMPLEX 1
#define REAL double
#define NUMBER double _Complex
#define LETTER z
#include "level1.inc"
#include "gemm.inc"
#include "level2.inc"
#include "lapack.inc"
#include "undefine.inc"

#include "refused.inc"

/* Compilers turn loops into calls of these, and there is no C library here to have them. */

void *memset(void *to, int byte, __SIZE_TYPE__ count) {
    volatile unsigned char *bytes = to; /* volatile, or the loop would become a call of this very function */
    while (count--) *bytes++ = (unsigned char)byte;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, __SIZE_TYPE__ count) {
    volatile unsigned char *target = to;
    const unsigned char *source = from;
    while (count--) *target++ = *source++;
    return to;
}
