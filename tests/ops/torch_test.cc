#include <gtest/gtest.h>

#include <cmath>

#include "cases.h"
#include "torch_figures.h"

// PyTorch's nn.RNN, nn.LSTM and nn.GRU on the same weights and inputs
// (bench/ops/torch_reference.py).

namespace rondo::ops {
namespace {

template <class T, class Problem>
double worst_error(const torch_figures::Figure& figure, Problem p) {
  p.run(Executor(1));
  for (const auto& [name, tensor] : p.results()) {
    if (figure.tensor != name) continue;
    EXPECT_EQ(static_cast<std::size_t>(tensor->count()), figure.values.size());
    double worst = 0;
    for (Dim i = 0; i < tensor->count(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>((*tensor)[i]) -
                                       figure.values[static_cast<std::size_t>(i)]));
    return worst;
  }
  ADD_FAILURE() << "no result " << figure.tensor;
  return 1;
}

// A figure's case is a cell, then perhaps "_projected", then perhaps "_both".
template <class T>
double worst_error(const torch_figures::Figure& figure) {
  namespace f = torch_figures;
  const std::string cell_name = figure.cell.substr(0, figure.cell.find('_'));
  Cell cell = Cell::kTanh;
  for (const Cell c : cases::kCells)
    if (cases::cell_name(c) == cell_name) cell = c;
  const bool projected = figure.cell.find("_projected") != std::string::npos;
  const Dim projection = projected ? f::kProjection : 0;
  const cases::RecurrentCase c{
      "", {cell, f::kInputs, f::kHidden, false, projection}, {f::kSteps, f::kBatch}};
  if (figure.cell.ends_with("_both"))
    return worst_error<T>(figure, cases::BidirectionalProblem<T>(c));
  return worst_error<T>(figure, cases::RecurrentProblem<T>(c));
}

TEST(TorchTest, FloatAgreesTo1e5) {
  ASSERT_EQ(torch_figures::kFigures.size(), 50U);
  for (const auto& figure : torch_figures::kFigures)
    EXPECT_LE(worst_error<float>(figure), 1e-5) << figure.cell << " " << figure.tensor;
}

// The problem in double draws 24-bit inputs too, but is not rounded to float: 1e-7 is that
// rounding.
TEST(TorchTest, DoubleAgreesTo1e6) {
  for (const auto& figure : torch_figures::kFigures)
    EXPECT_LE(worst_error<double>(figure), 1e-6) << figure.cell << " " << figure.tensor;
}

}  // namespace
}  // namespace rondo::ops
