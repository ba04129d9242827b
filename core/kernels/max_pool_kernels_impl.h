// The kernels' one implementation: each including file compiles it for its own instruction set and
// names the resulting table in LOCKSTEP_KERNELS.
#pragma once

#include "lockstep/core/kernels/max_pool_kernels.h"
#include "lockstep/core/kernels/vector16.h"

namespace lockstep::kernels {
namespace {

template <typename T>
void forward_of(const MaxPoolShape& shape,
                const typename T::Value* x,
                typename T::Value* y,
                uint8_t* taps,
                int64_t begin,
                int64_t end) {
  const int64_t channels = shape.channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t top = row % shape.out_height * shape.stride - shape.padding;
    const Span rows = shape.inside(top, shape.in_height);
    const int64_t image = row / shape.out_height * shape.in_height;
    for (int64_t column = 0; column < shape.out_width; ++column) {
      const int64_t left = column * shape.stride - shape.padding;
      const Span columns = shape.inside(left, shape.in_width);
      const auto at = [&](int64_t i, int64_t j) {
        return x + ((image + top + i) * shape.in_width + left + j) * channels;
      };
      const int64_t out = (row * shape.out_width + column) * channels;
      const auto first = static_cast<int32_t>(rows.begin * shape.size + columns.begin);
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        Vector best = T::load_vector(at(rows.begin, columns.begin) + c);
        Mask tap = Mask{} + first;
        for (int64_t i = rows.begin; i < rows.end; ++i) {
          for (int64_t j = columns.begin; j < columns.end; ++j) {
            const Vector v = T::load_vector(at(i, j) + c);
            const Mask take = (v > best) | (v != v);
            best = take ? v : best;
            tap = take ? Mask{} + static_cast<int32_t>(i * shape.size + j) : tap;
          }
        }
        T::store_exact(y + out + c, best);
        store_bytes(taps + out + c, tap);
      }
      for (; c < channels; ++c) {
        float best = T::load(at(rows.begin, columns.begin) + c);
        int32_t tap = first;
        for (int64_t i = rows.begin; i < rows.end; ++i) {
          for (int64_t j = columns.begin; j < columns.end; ++j) {
            const float v = T::load(at(i, j) + c);
            if (!(v > best) && v == v) continue;
            best = v;
            tap = static_cast<int32_t>(i * shape.size + j);
          }
        }
        T::store(y + out + c, best);
        taps[out + c] = static_cast<uint8_t>(tap);
      }
    }
  }
}

template <typename T>
void backward_of(const MaxPoolShape& shape,
                 const typename T::Value* dy,
                 const uint8_t* taps,
                 const typename T::Value* base,
                 typename T::Value* dx,
                 int64_t begin,
                 int64_t end) {
  const int64_t channels = shape.channels;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t line = row % shape.in_height;
    const Span rows = shape.covering(line, shape.out_height);
    const int64_t image = row / shape.in_height * shape.out_height;
    for (int64_t column = 0; column < shape.in_width; ++column) {
      const Span columns = shape.covering(column, shape.out_width);
      const auto at = [&](int64_t i, int64_t j) {
        return ((image + i) * shape.out_width + j) * channels;
      };
      // This place's number in window (i, j).
      const auto tap = [&](int64_t i, int64_t j) {
        return static_cast<int32_t>((line - i * shape.stride + shape.padding) * shape.size +
                                    column - j * shape.stride + shape.padding);
      };
      const int64_t place = (row * shape.in_width + column) * channels;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        Vector sum = base ? T::load_vector(base + place + c) : Vector{};
        for (int64_t i = rows.begin; i < rows.end; ++i) {
          for (int64_t j = columns.begin; j < columns.end; ++j) {
            const Mask from = load_bytes(taps + at(i, j) + c) == tap(i, j);
            sum += from ? T::load_vector(dy + at(i, j) + c) : Vector{};
          }
        }
        T::store_vector(dx + place + c, sum);
      }
      for (; c < channels; ++c) {
        float sum = base ? T::load(base + place + c) : 0;
        for (int64_t i = rows.begin; i < rows.end; ++i) {
          for (int64_t j = columns.begin; j < columns.end; ++j) {
            if (taps[at(i, j) + c] == tap(i, j)) sum += T::load(dy + at(i, j) + c);
          }
        }
        T::store(dx + place + c, sum);
      }
    }
  }
}

void forward(
    const MaxPoolShape& shape, const void* x, void* y, uint8_t* taps, int64_t begin, int64_t end) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
    using Value = typename T::Value;
    forward_of<T>(shape, static_cast<const Value*>(x), static_cast<Value*>(y), taps, begin, end);
  });
}

void backward(const MaxPoolShape& shape,
              const void* dy,
              const uint8_t* taps,
              const void* base,
              void* dx,
              int64_t begin,
              int64_t end) {
  with_dtype(shape.bf16, [&]<typename T>(T) {
    using Value = typename T::Value;
    backward_of<T>(shape,
                   static_cast<const Value*>(dy),
                   taps,
                   static_cast<const Value*>(base),
                   static_cast<Value*>(dx),
                   begin,
                   end);
  });
}

}  // namespace

const MaxPoolKernels& LOCKSTEP_KERNELS() {
  static constexpr MaxPoolKernels kernels{forward, backward};
  return kernels;
}

}  // namespace lockstep::kernels
