#define LOCKSTEP_KERNELS max_pool_kernels_avx2
#include "lockstep/core/kernels/max_pool_kernels_impl.h"
