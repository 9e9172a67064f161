#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/result.h>

// The learning curve of a run: `curve.csv` (step,epoch,loss,val_loss,tokens_per_s; one row a step,
// val_loss where an epoch was validated) and a picture of it, `curve.svg`.
//
// Rows are kept in memory and written whole at every save, so the file never shows half a row, and
// a run that goes on from a checkpoint drops the rows of the steps that it does again. One thread.

namespace rondo::actors {

struct CurveRow {
  std::int64_t step = 0;
  int epoch = 0;
  double loss = 0;
  std::optional<double> val_loss;
  double tokens_per_s = 0;
};

class Curve {
 public:
  explicit Curve(std::string folder) : folder_(std::move(folder)) {}

  // Takes over the rows of an earlier part of the run, up to `step`. A file that is not ours is
  // left out of it.
  void resume(std::int64_t step);
  void add(const CurveRow& row) { rows_.push_back(row); }
  void set_validation(double val_loss) {
    if (!rows_.empty()) rows_.back().val_loss = val_loss;
  }
  [[nodiscard]] Result<void> save() const;
  [[nodiscard]] const std::vector<CurveRow>& rows() const { return rows_; }

 private:
  std::string folder_;
  std::vector<CurveRow> rows_;
};

// Whether a run of ours wrote that file.
[[nodiscard]] bool is_curve(const std::string& path);

// The picture: training loss (a thin line, averaged to the width of the paper) and validation loss
// (dots), over steps.
[[nodiscard]] std::string to_svg(const std::vector<CurveRow>& rows);

}  // namespace rondo::actors
