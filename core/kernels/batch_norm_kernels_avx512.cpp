#define LOCKSTEP_KERNELS batch_norm_kernels_avx512
#include "lockstep/core/kernels/batch_norm_kernels_impl.h"
