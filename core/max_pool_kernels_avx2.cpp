#define LOCKSTEP_KERNELS max_pool_kernels_avx2
#include "core/max_pool_kernels_impl.h"
