#include <rondo/actors/curve.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <sstream>

#include <rondo/actors/safetensors.h>
#include <rondo/actors/text.h>

namespace rondo::actors {

namespace {

constexpr const char* kHeader = "step,epoch,loss,val_loss,tokens_per_s\n";
constexpr double kWidth = 720, kHeight = 360, kLeft = 56, kBottom = 40, kTop = 32, kRight = 16;

template <class... Args>
std::string format(const char* pattern, Args... args) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), pattern, args...);
  return text.data();
}

std::string to_line(const CurveRow& row) {
  const std::string val = row.val_loss ? format("%.9g", *row.val_loss) : "";
  return format("%lld,%d,%.9g,%s,%.0f\n", static_cast<long long>(row.step), row.epoch, row.loss,
                val.c_str(), row.tokens_per_s);
}

std::optional<CurveRow> from_line(const std::string& line) {
  std::vector<std::string> cells(1);
  for (char c : line) {
    if (c == ',') cells.emplace_back();
    else cells.back() += c;
  }
  if (cells.size() != 5) return std::nullopt;
  CurveRow row;
  row.step = std::atoll(cells[0].c_str());
  row.epoch = std::atoi(cells[1].c_str());
  row.loss = std::atof(cells[2].c_str());
  if (!cells[3].empty()) row.val_loss = std::atof(cells[3].c_str());
  row.tokens_per_s = std::atof(cells[4].c_str());
  if (row.step <= 0) return std::nullopt;
  return row;
}

struct Scale {
  double last_step = 1, low = 0, high = 1;
  [[nodiscard]] double x(double step) const {
    return kLeft + (kWidth - kLeft - kRight) * step / last_step;
  }
  [[nodiscard]] double y(double loss) const {
    return kTop + (kHeight - kTop - kBottom) * (high - loss) / (high - low);
  }
};

Scale scale_of(const std::vector<CurveRow>& rows) {
  Scale scale;
  scale.last_step = static_cast<double>(rows.back().step);
  scale.low = scale.high = rows.front().loss;
  for (const CurveRow& row : rows) {
    for (double loss : {row.loss, row.val_loss.value_or(row.loss)}) {
      if (!std::isfinite(loss)) continue;
      scale.low = std::min(scale.low, loss);
      scale.high = std::max(scale.high, loss);
    }
  }
  if (!(scale.high > scale.low)) scale.high = scale.low + 1;
  return scale;
}

std::string axes(const Scale& scale) {
  std::string out;
  for (int i = 0; i <= 4; ++i) {
    const double loss = scale.low + (scale.high - scale.low) * i / 4;
    const double y = scale.y(loss);
    out += format("<line x1='%.0f' y1='%.1f' x2='%.0f' y2='%.1f' stroke='#ddd'/>", kLeft, y,
                  kWidth - kRight, y);
    out += format("<text x='%.0f' y='%.1f' text-anchor='end'>%.3g</text>\n", kLeft - 6, y + 4,
                  loss);
    const double step = scale.last_step * i / 4;
    out += format("<text x='%.1f' y='%.0f' text-anchor='middle'>%.0f</text>\n", scale.x(step),
                  kHeight - kBottom + 18, step);
  }
  return out;
}

}  // namespace

std::string to_svg(const std::vector<CurveRow>& rows) {
  std::string out = format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' height='%.0f' "
      "font-family='sans-serif' font-size='12' fill='#333'>\n"
      "<rect width='100%%' height='100%%' fill='white'/>\n",
      kWidth, kHeight);
  if (!rows.empty()) {
    const Scale scale = scale_of(rows);
    out += axes(scale);
    const std::size_t each = (rows.size() + 599) / 600;
    out += "<polyline fill='none' stroke='#4878a8' stroke-width='1' points='";
    for (std::size_t at = 0; at < rows.size(); at += each) {
      const std::size_t end = std::min(rows.size(), at + each);
      double sum = 0;
      for (std::size_t i = at; i < end; ++i) sum += rows[i].loss;
      const double mean = sum / static_cast<double>(end - at);
      if (!std::isfinite(mean)) continue;
      out += format("%.1f,%.1f ", scale.x(static_cast<double>(rows[end - 1].step)), scale.y(mean));
    }
    out += "'/>\n";
    for (const CurveRow& row : rows) {
      if (!row.val_loss || !std::isfinite(*row.val_loss)) continue;
      out += format("<circle cx='%.1f' cy='%.1f' r='3' fill='#c44e52'/>\n",
                    scale.x(static_cast<double>(row.step)), scale.y(*row.val_loss));
    }
  }
  out += format("<text x='%.0f' y='18'>loss by step: training (line), validation (dots)</text>\n",
                kLeft);
  return out + "</svg>\n";
}

bool is_curve(const std::string& path) {
  const auto text = read_file(path);
  return text && text.value().starts_with(kHeader);
}

void Curve::resume(std::int64_t step) {
  const auto text = read_file(folder_ + "/curve.csv");
  if (!text || !text.value().starts_with(kHeader)) return;
  std::istringstream lines(text.value());
  std::string line;
  while (std::getline(lines, line)) {
    const auto row = from_line(line);
    if (row && row->step <= step) rows_.push_back(*row);
  }
}

Result<void> Curve::save() const {
  std::string text = kHeader;
  for (const CurveRow& row : rows_) text += to_line(row);
  const std::string_view csv = text;
  if (auto wrote = write_whole(folder_ + "/curve.csv", {&csv, 1}, {Durability::kQuick, {}});
      !wrote)
    return wrote;
  const std::string picture = to_svg(rows_);
  const std::string_view svg = picture;
  return write_whole(folder_ + "/curve.svg", {&svg, 1}, {Durability::kQuick, {}});
}

}  // namespace rondo::actors
