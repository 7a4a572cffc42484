/* Which instructions the compiler may use. A kernel that is written for some of them stands in a
 * folder of its own, dsp/ or mve/, and takes the place of the portable one. Every file is compiled
 * in every build; an #if in it keeps each kernel's definitions to one. */
#ifndef LIL_TARGET_H
#define LIL_TARGET_H

/* Whether training steps are part of this build, or inference alone. */
#ifndef LIL_TRAINING
#define LIL_TRAINING 1
#endif

/* The DSP extension of ARMv7E-M and ARMv8-M: two 16-bit products at once. Cortex-M4, M7, M33.
 * Tests define LIL_EMULATE_DSP to run these kernels anywhere. */
#if defined(LIL_EMULATE_DSP) ||                                                                    \
    (defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M')
#define LIL_HAS_DSP 1
#else
#define LIL_HAS_DSP 0
#endif

/* Helium, the vectors of ARMv8.1-M: 16 bytes at once. Cortex-M55. Implies the DSP extension. */
#if defined(__ARM_FEATURE_MVE) && __ARM_FEATURE_MVE & 1
#define LIL_HAS_MVE 1
#else
#define LIL_HAS_MVE 0
#endif

/* Vectors that the compiler makes of loops: x86-64 and AArch64. */
#if defined(__SSE2__) || defined(__aarch64__)
#define LIL_HAS_VECTORS 1
#else
#define LIL_HAS_VECTORS 0
#endif

/* The 16-bit instructions of ARMv6-M and ARMv8-M Baseline: Cortex-M0, M0+, M23. They compute in
 * eight registers only, and multiply 32 bits by 32 bits to 32. */
#if defined(__thumb__) && !defined(__thumb2__)
#define LIL_HAS_THUMB1 1
#else
#define LIL_HAS_THUMB1 0
#endif

/* For functions that are made special by the constants that they are called with. */
#define LIL_INLINE static inline __attribute__((always_inline))

#endif
