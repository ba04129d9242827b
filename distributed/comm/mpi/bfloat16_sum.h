// MPI's sum of bfloat16 numbers, which MPI has no type for: they travel as MPI_UINT16_T.
#pragma once

#include <mpi.h>

namespace lockstep {

// Each sum of two is made in float32 and rounded to the nearest bfloat16, ties to even.
class Bfloat16Sum {
 public:
  Bfloat16Sum();
  ~Bfloat16Sum();
  Bfloat16Sum(const Bfloat16Sum&) = delete;
  Bfloat16Sum& operator=(const Bfloat16Sum&) = delete;
  MPI_Op get() const { return op_; }

 private:
  MPI_Op op_ = MPI_OP_NULL;
};

}  // namespace lockstep
