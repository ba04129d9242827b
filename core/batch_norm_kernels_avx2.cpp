#define LOCKSTEP_KERNELS batch_norm_kernels_avx2
#include "core/batch_norm_kernels_impl.h"
