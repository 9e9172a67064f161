#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <rondo/actors/model.h>
#include <rondo/actors/streams.h>

// The trained model once more, in double and as its formulas are written down: one sequence after
// another, one unit after another, nothing shared with ops/ but the random numbers. Tests only.

namespace rondo::actors {

class ReferenceModel {
 public:
  struct Dropout {
    bool on = false;
    std::uint64_t seed = 0;
    std::uint32_t step = 0;
  };
  // `parameters`: of the whole model, in tensors_of's order.
  ReferenceModel(const ModelSpec& model, const std::vector<double>& parameters);

  // The sum over all elements of [steps, batch] of the losses, from zero states.
  [[nodiscard]] double loss(const Feed& inputs, const Feed& targets, int steps, int batch,
                            const Dropout& dropout) const;

 private:
  using Row = std::vector<double>;
  struct State {
    Row h, c;
  };

  [[nodiscard]] const Row& tensor(const std::string& name) const { return tensors_.at(name); }
  // weight·x + bias, rows of `weight` as there are in `bias`; an empty bias is none.
  [[nodiscard]] Row product(const std::string& weight, const std::string& bias, const Row& x) const;
  [[nodiscard]] Row first_input(const Feed& inputs, std::size_t at) const;
  void step_cell(int layer, const Row& x, State& state) const;
  void step_lstm(const Row& a, const std::string& suffix, State& state) const;
  void step_gru(const Row& x, const std::string& suffix, State& state) const;
  void step_min(const Row& a, State& state) const;
  [[nodiscard]] Row norm(int layer, const Row& x) const;
  [[nodiscard]] double loss_of(const Row& outputs, const Feed& targets, std::size_t at) const;

  ModelSpec model_;
  std::map<std::string, Row> tensors_;
};

}  // namespace rondo::actors
