#define LOCKSTEP_KERNELS batch_norm_kernels_avx2
#include "lockstep/core/kernels/batch_norm_kernels_impl.h"
