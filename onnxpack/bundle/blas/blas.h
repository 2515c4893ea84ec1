/* What the files of this library share: names, numbers, and matrices with any strides. */

#ifndef ONNXPACK_BLAS_H
#define ONNXPACK_BLAS_H

#include <stdbool.h>
#include <stdint.h>

typedef int64_t Size; /* ILP64: every integer of the interface has 64 bits */

/*
 * The names are those of the OpenBLAS in numpy's wheels: prefixed, and suffixed for their 64-bit integers. Nothing else
 * is exported.
 */
#define EXPORTED __attribute__((visibility("default")))
#define PASTE_TOKENS(a, b) a##b
#define PASTE(a, b) PASTE_TOKENS(a, b)
/* LETTER is s, d, c or z, for float, double and the complex numbers of each. */
#define NAMED(name) PASTE(LETTER, name)
#define CBLAS(name) PASTE(scipy_cblas_, PASTE(LETTER, name##64_))
#define FORTRAN(name) PASTE(scipy_, PASTE(LETTER, name##_64_))

/* cblas.h has these as enums. */
enum { ROW_MAJOR = 101, COLUMN_MAJOR = 102 };
enum { NO_TRANSPOSE = 111, TRANSPOSE = 112, CONJUGATE_TRANSPOSE = 113 };
enum { UPPER = 121, LOWER = 122 };

/* The part of a result that is computed; what lies outside is neither read nor written. */
typedef enum { WHOLE, UPPER_TRIANGLE, LOWER_TRIANGLE } Part;

/* BLAS walks a vector of negative stride from its far end. */
#define FIRST(x, n, stride) ((stride) < 0 ? (x) + (1 - (n)) * (stride) : (x))

static inline Size smaller(Size a, Size b) { return a < b ? a : b; }
static inline Size larger(Size a, Size b) { return a > b ? a : b; }

static inline bool is_order(int order) { return order == ROW_MAJOR || order == COLUMN_MAJOR; }
static inline bool is_operation(int operation) { return operation >= NO_TRANSPOSE && operation <= CONJUGATE_TRANSPOSE; }

#endif
