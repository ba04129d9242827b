#define LOCKSTEP_KERNELS batch_norm_kernels_avx512
#include "core/batch_norm_kernels_impl.h"
