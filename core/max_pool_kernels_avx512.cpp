#define LOCKSTEP_KERNELS max_pool_kernels_avx512
#include "core/max_pool_kernels_impl.h"
