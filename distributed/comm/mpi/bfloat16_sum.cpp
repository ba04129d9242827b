#include "lockstep/distributed/comm/mpi/bfloat16_sum.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include "lockstep/distributed/comm/mpi/mpi_calls.h"

namespace lockstep {
namespace {

void add(void* values, void* sums, int* count, MPI_Datatype* /*type*/) {
  const at::NoGradGuard no_grad;
  at::from_blob(sums, {*count}, at::kBFloat16).add_(at::from_blob(values, {*count}, at::kBFloat16));
}

}  // namespace

Bfloat16Sum::Bfloat16Sum() {
  check_mpi(MPI_Op_create(add, /*commute=*/1, &op_), "making the sum of bfloat16");
}

Bfloat16Sum::~Bfloat16Sum() {
  if (mpi_is_running()) MPI_Op_free(&op_);
}

}  // namespace lockstep
