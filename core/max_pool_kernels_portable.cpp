#define LOCKSTEP_KERNELS max_pool_kernels_portable
#include "core/max_pool_kernels_impl.h"
