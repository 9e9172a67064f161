#include <rondo/ops/cpu/deer_impl.h>
#include <rondo/ops/cpu/recurrent_impl.h>
#include <rondo/ops/scan.h>

// What DEER needs of a cell: its slopes, its Jacobian, and the two linear recurrences, forwards and
// backwards in time.

namespace rondo::ops {

template <class T>
void DeerLayer<T>::Impl::find_slopes(Storage& s) const {
  const CellGeometry g(spec);
  auto& all = s.all.storage();
  const Dim rows = s.rows();
  each_row(rows, [&](Dim row) {
    for (Dim u = 0; u < hidden; ++u) {
      const Dim p = u / g.units, lane = u % g.units;
      const T* tile = all.gates.data() + (p * rows + row) * kTile + lane;
      T* slope = s.slopes.data() + row * gates * hidden + u;
      const Dim at = row * hidden + u;
      if (lstm) {
        const T i = tile[0], f = tile[16], n = tile[32], o = tile[48];
        const T c_tanh = all.c_tanh[(p * rows + row) * kCellLanes + lane];
        slope[0] = n * (i * (T(1) - i));
        slope[hidden] = s.c[at] * (f * (T(1) - f));
        slope[2 * hidden] = i * (T(1) - n * n);
        slope[3 * hidden] = c_tanh * (o * (T(1) - o));
        s.direct[at] = f;
        s.through[at] = o * (T(1) - c_tanh * c_tanh);
      } else if (spec.cell == Cell::kGru) {
        const T n = tile[0], r = tile[16], z = tile[32], recurrent = tile[48];
        const T dn = (T(1) - z) * (T(1) - n * n);
        slope[0] = dn * recurrent * (r * (T(1) - r));
        slope[hidden] = (s.h[at] - n) * (z * (T(1) - z));
        slope[2 * hidden] = dn * r;
        s.direct[at] = z;
      } else {
        const T y = tile[0];
        if (spec.cell == Cell::kTanh) slope[0] = T(1) - y * y;
        if (spec.cell == Cell::kSigmoid) slope[0] = y * (T(1) - y);
        if (spec.cell == Cell::kRelu) slope[0] = y > T(0) ? T(1) : T(0);
        s.direct[at] = T(0);
      }
    }
  });
}

template <class T>
T DeerLayer<T>::Impl::of_itself(const Storage& s, Dim row, Dim unit) const {
  const T* slope = s.slopes.data() + row * gates * hidden + unit;
  const auto term = [&](Dim gate) {
    return slope[gate * hidden] * w_hh[(gate * hidden + unit) * hidden + unit];
  };
  if (lstm)
    return term(3) + s.through[row * hidden + unit] * (term(0) + term(1) + term(2));
  T sum = s.direct[row * hidden + unit];
  for (Dim gate = 0; gate < gates; ++gate) sum = sum + term(gate);
  return sum;
}

// The state is h or, for LSTM, h and then c.
template <class T>
void DeerLayer<T>::Impl::jacobian(const Storage& s, Dim row, bool transposed, T* to,
                                  Dim stride) const {
  std::fill_n(to, stride * stride, T(0));
  const auto at = [&](Dim of, Dim by) -> T& {
    return transposed ? to[by * stride + of] : to[of * stride + by];
  };
  for (Dim u = 0; u < hidden; ++u) {
    const T* slope = s.slopes.data() + row * gates * hidden + u;
    const T direct = s.direct[row * hidden + u];
    const T through = lstm ? s.through[row * hidden + u] : T(0);
    for (Dim v = 0; v < hidden; ++v) {
      T sum = T(0);
      for (Dim gate = 0; gate < (lstm ? 3 : gates); ++gate)
        sum = sum + slope[gate * hidden] * w_hh[(gate * hidden + u) * hidden + v];
      if (lstm) {
        at(hidden + u, v) = sum;
        sum = slope[3 * hidden] * w_hh[(3 * hidden + u) * hidden + v] + through * sum;
      }
      at(u, v) = sum;
    }
    if (lstm) {
      at(hidden + u, hidden + u) = direct;
      at(u, hidden + u) = through * direct;
    } else {
      at(u, u) = at(u, u) + direct;
    }
  }
}

template <class T>
void DeerLayer<T>::Impl::solve_diagonal(Storage& s) {
  const Dim rows = s.rows(), count = rows * hidden, skip = s.shape.batch * hidden;
  const Shape shape{s.shape.steps, skip};
  ensure(factor, count), ensure(addend, count);
  const View<const T> factors(factor.data(), shape), addends(addend.data(), shape);
  const T* h_new = s.all.y().data();
  if (lstm) {   // c first: h looks at the new c
    each_row(rows, [&](Dim row) {
      for (Dim i = row * hidden; i < (row + 1) * hidden; ++i) {
        factor[i] = s.direct[i];
        addend[i] = s.c_new[i] - factor[i] * s.c[i];
      }
    });
    linear_scan_forward<T>(executor, factors, addends, s.c, scan_scratch);
  }
  each_row(rows, [&](Dim row) {
    for (Dim u = 0; u < hidden; ++u) {
      const Dim i = row * hidden + u;
      factor[i] = of_itself(s, row, u);
      addend[i] = h_new[i] - factor[i] * s.h[i];
      if (!lstm) continue;
      factor[i] = s.slopes[(row * gates + 3) * hidden + u] * w_hh[(3 * hidden + u) * hidden + u];
      addend[i] = h_new[i] - factor[i] * s.h[i] + s.through[i] * (s.c[skip + i] - s.c_new[i]);
    }
  });
  linear_scan_forward<T>(executor, factors, addends, s.h, scan_scratch);
}

namespace {

// One of the two dense recurrences, said by three functions.
template <class T, class Terms, class Start, class Put>
struct Recurrence final : DenseScan<T>::Problem {
  Recurrence(const Terms& t, const Start& s, const Put& p) : of_terms(t), of_start(s), of_put(p) {}
  void terms(Dim step, Dim sequence, T* a, Dim stride, T* b) const override {
    of_terms(step, sequence, a, stride, b);
  }
  void start(Dim sequence, T* s) const override { of_start(sequence, s); }
  void put(Dim step, Dim sequence, const T* s) const override { of_put(step, sequence, s); }
  const Terms& of_terms;
  const Start& of_start;
  const Put& of_put;
};

}  // namespace

// s_t = J_t·s_{t−1} + (f − J_t·(old s_{t−1})). Blocks run in parallel and write the states that
// others read, so the new trajectory has memory of its own.
template <class T>
void DeerLayer<T>::Impl::solve_full(Storage& s) {
  const Dim batch = s.shape.batch, skip = batch * hidden;
  const T* h_new = s.all.y().data();
  Tensor<T> h = s.h, c = s.c;
  const auto terms = [&](Dim step, Dim sequence, T* to, Dim stride, T* rest) {
    const Dim row = step * batch + sequence, state = lstm ? 2 * hidden : hidden;
    jacobian(s, row, false, to, stride);
    for (Dim i = 0; i < state; ++i) {
      T sum = i < hidden ? h_new[row * hidden + i] : s.c_new[row * hidden + i - hidden];
      for (Dim v = 0; v < hidden; ++v) sum = sum - to[i * stride + v] * s.h[row * hidden + v];
      if (lstm) {
        const Dim u = i % hidden;   // c' reaches one unit only
        sum = sum - to[i * stride + hidden + u] * s.c[row * hidden + u];
      }
      rest[i] = sum;
    }
  };
  const auto start = [&](Dim sequence, T* to) {
    std::copy_n(s.h.data() + sequence * hidden, hidden, to);
    if (lstm) std::copy_n(s.c.data() + sequence * hidden, hidden, to + hidden);
  };
  const auto put = [&](Dim step, Dim sequence, const T* from) {
    const Dim at = skip + (step * batch + sequence) * hidden;
    std::copy_n(from, hidden, h.data() + at);
    if (lstm) std::copy_n(from + hidden, hidden, c.data() + at);
  };
  dense.run(s.shape.steps, batch, Recurrence<T, decltype(terms), decltype(start), decltype(put)>(
                                      terms, start, put));
  s.h = std::move(h);
  s.c = std::move(c);
}

// product[τ] = J^T·L[τ], what step T − 1 − τ gives to the state before it.
template <class T>
void DeerLayer<T>::Impl::product_back(const Storage& s) {
  const Dim batch = s.shape.batch, rows = s.rows(), wide = gates * hidden;
  ensure(of_sums, rows * wide), ensure(product_h, rows * hidden);
  if (lstm) ensure(product_c, rows * hidden);
  const auto row_of = [&](Dim place) {   // places: backwards in time
    return (s.shape.steps - 1 - place / batch) * batch + place % batch;
  };
  each_row(rows, [&](Dim place) {
    const Dim row = row_of(place);
    for (Dim u = 0; u < hidden; ++u) {
      const T dh = lambda_h[place * hidden + u];
      T inner = dh;
      if (lstm) {
        inner = lambda_c[place * hidden + u] + s.through[row * hidden + u] * dh;
        product_c[place * hidden + u] = inner * s.direct[row * hidden + u];
      }
      for (Dim gate = 0; gate < gates; ++gate)
        of_sums[place * wide + gate * hidden + u] =
            (lstm && gate == 3 ? dh : inner) * s.slopes[row * wide + gate * hidden + u];
    }
  });
  back.run(executor, rows, of_sums.data(), nullptr, product_h.data());
  if (lstm) return;
  each_row(rows, [&](Dim place) {
    const Dim row = row_of(place);
    for (Dim u = 0; u < hidden; ++u)
      product_h[place * hidden + u] = product_h[place * hidden + u] +
                                      s.direct[row * hidden + u] * lambda_h[place * hidden + u];
  });
}

template <class T>
void DeerLayer<T>::Impl::solve_diagonal_back(const Storage& s) {
  const Dim batch = s.shape.batch, steps = s.shape.steps, state = batch * hidden;
  const Dim rows = (steps - 1) * batch;
  const Shape shape{steps - 1, state};
  ensure(factor, s.rows() * hidden), ensure(addend, s.rows() * hidden);
  const auto solve = [&](bool of_c, const Tensor<T>& product, Tensor<T>& lambda) {
    each_row(rows, [&](Dim place) {
      const Dim row = (steps - 1 - place / batch) * batch + place % batch;
      for (Dim u = 0; u < hidden; ++u) {
        const Dim i = place * hidden + u;
        factor[i] = of_c ? s.direct[row * hidden + u] : of_itself(s, row, u);
        addend[i] = product[i] - factor[i] * lambda[i];
        if (!of_c) addend[i] = addend[i] + dy_turned[state + i];
      }
    });
    linear_scan_forward<T>(executor, View<const T>(factor.data(), shape),
                           View<const T>(addend.data(), shape), lambda, scan_scratch);
  };
  solve(false, product_h, lambda_h);
  if (lstm) solve(true, product_c, lambda_c);
}

template <class T>
void DeerLayer<T>::Impl::solve_full_back(const Storage& s) {
  const Dim batch = s.shape.batch, steps = s.shape.steps;
  const auto terms = [&](Dim step, Dim sequence, T* to, Dim stride, T* rest) {
    jacobian(s, (steps - 1 - step) * batch + sequence, true, to, stride);
    if (lstm) std::fill_n(rest + hidden, hidden, T(0));
    std::copy_n(dy_turned.data() + ((step + 1) * batch + sequence) * hidden, hidden, rest);
  };
  const auto start = [&](Dim sequence, T* to) {
    std::copy_n(lambda_h.data() + sequence * hidden, hidden, to);
    if (lstm) std::copy_n(lambda_c.data() + sequence * hidden, hidden, to + hidden);
  };
  const auto put = [&](Dim step, Dim sequence, const T* from) {
    const Dim at = ((step + 1) * batch + sequence) * hidden;
    std::copy_n(from, hidden, lambda_h.data() + at);
    if (lstm) std::copy_n(from + hidden, hidden, lambda_c.data() + at);
  };
  dense.run(steps - 1, batch, Recurrence<T, decltype(terms), decltype(start), decltype(put)>(
                                  terms, start, put));
}

#define RONDO_INSTANTIATE(T)                                                                  \
  template void DeerLayer<T>::Impl::find_slopes(Storage&) const;                              \
  template void DeerLayer<T>::Impl::solve_diagonal(Storage&);                                 \
  template void DeerLayer<T>::Impl::solve_full(Storage&);                                     \
  template void DeerLayer<T>::Impl::product_back(const Storage&);                             \
  template void DeerLayer<T>::Impl::solve_diagonal_back(const Storage&);                      \
  template void DeerLayer<T>::Impl::solve_full_back(const Storage&);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
