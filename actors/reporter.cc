#include <rondo/actors/reporter.h>

#include <cmath>
#include <cstdio>
#include <numbers>

#include <nlohmann/json.hpp>

#include <rondo/ops/numeric_profile.h>

namespace rondo::actors {

namespace {

using nlohmann::json;
constexpr auto kDrawEvery = std::chrono::milliseconds(100);
constexpr auto kLineEvery = std::chrono::seconds(5);

template <class... Args>
std::string format(const char* pattern, Args... args) {
  std::string text(static_cast<std::size_t>(std::snprintf(nullptr, 0, pattern, args...)), ' ');
  std::snprintf(text.data(), text.size() + 1, pattern, args...);
  return text;
}

void write(const json& object) {
  const std::string text =
      object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

json to_json(const char* event, const Reporter::Measure& measure) {
  json out{{"event", event},
           {"step", measure.step},
           {"epoch", measure.epoch},
           {"loss", measure.loss},
           {"tokens_per_s", std::round(measure.tokens_per_s)}};
  if (measure.val_loss) out["val_loss"] = *measure.val_loss;
  return out;
}

std::string rate(double per_second) {
  if (per_second < 10'000) return format("%.0f", per_second);
  return format("%.1fk", per_second / 1000);
}

std::string duration(double seconds) {
  const auto whole = static_cast<long long>(seconds + 0.5);
  if (whole < 3600) return format("%lld:%02lld", whole / 60, whole % 60);
  return format("%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}

// What a model has besides its cells, as the first line names it.
std::string extras(const ModelSpec& model) {
  std::string text;
  if (model.embedding > 0) text += format(", embedding %d", model.embedding);
  if (model.projection > 0) text += format(", projection %d", model.projection);
  if (model.layer_norm) text += ", layer norm";
  if (model.dropout > 0) text += format(", dropout %g", model.dropout);
  return text;
}

}  // namespace

Reporter::Reporter(const Options& options)
    : options_(options), began_(Clock::now()), shown_(began_) {}

void Reporter::line(const std::string& text) {
  std::printf("%s%s\n", drawn_ ? "\r\033[K" : "", text.c_str());
  std::fflush(stdout);
  drawn_ = false;
}

std::string Reporter::losses(const Measure& measure) const {
  std::string text = format("loss %.4f", measure.loss);
  if (options_.data == DataKind::kTokens)
    text += format(" (%.3f bits/char)", measure.loss / std::numbers::ln2);
  if (measure.val_loss) {
    text += format("  val %.4f", *measure.val_loss);
    if (options_.data == DataKind::kTokens)
      text += format(" (%.3f bits/char)", *measure.val_loss / std::numbers::ln2);
  }
  return text;
}

std::string Reporter::progress(const Measure& measure) const {
  const std::string of = options_.goal_epochs > 0 ? format("/%d", options_.goal_epochs) : "";
  std::string text = format("epoch %d%s  step %lld/%lld  ", measure.epoch, of.c_str(),
                            static_cast<long long>(measure.step),
                            static_cast<long long>(options_.goal_steps));
  text += losses(measure) + "  " + rate(measure.tokens_per_s) + " tokens/s";
  const std::int64_t done = measure.step - options_.first_step;
  if (done > 0) {
    const double spent = std::chrono::duration<double>(Clock::now() - began_).count();
    const auto left = static_cast<double>(options_.goal_steps - measure.step);
    text += "  " + duration(spent / static_cast<double>(done) * left) + " left";
  }
  return text;
}

void Reporter::start(const RunSpec& spec, const std::string& out, std::size_t parameters,
                     int threads) {
  const Layout& layout = spec.layout;
  if (options_.json) {
    write({{"event", "start"},
           {"step", options_.first_step},
           {"steps", options_.goal_steps},
           {"model", to_string(spec.model.cell)},
           {"layers", spec.model.layers},
           {"hidden", spec.model.hidden},
           {"layer_norm", spec.model.layer_norm},
           {"dropout", spec.model.dropout},
           {"projection", spec.model.projection},
           {"embedding", spec.model.embedding},
           {"parameters", parameters},
           {"vocabulary", spec.data.vocabulary.size()},
           {"replicas", layout.replicas},
           {"stages", layout.stages},
           {"microbatches", layout.microbatches},
           {"threads", threads},
           {"seed", spec.seed},
           {"device", to_string(spec.device)},
           {"precision", to_string(spec.precision)},
           {"profile", spec.profile},
           {"data", spec.data.path},
           {"out", out}});
    return;
  }
  line(format("%s of %d layer%s x %d units%s, %zu parameters, on %s",
              std::string(to_string(spec.model.cell)).c_str(), spec.model.layers,
              spec.model.layers == 1 ? "" : "s", spec.model.hidden, extras(spec.model).c_str(),
              parameters, spec.data.path.c_str()));
  line(format("%d replica%s x %d stage%s, %d microbatch%s, %d thread%s each; %s (%s); into %s",
              layout.replicas, layout.replicas == 1 ? "" : "s", layout.stages,
              layout.stages == 1 ? "" : "s", layout.microbatches,
              layout.microbatches == 1 ? "" : "es", threads, threads == 1 ? "" : "s",
              spec.profile.c_str(),
              spec.device == Device::kCpu ? ops::kernel_summary().c_str()
                                          : std::string(to_string(spec.precision)).c_str(),
              out.c_str()));
  if (options_.first_step > 0)
    line(format("resumed after step %lld", static_cast<long long>(options_.first_step)));
}

void Reporter::step(const Measure& measure) {
  if (options_.json) return write(to_json("step", measure));
  const auto now = Clock::now();
  if (options_.terminal) {
    if (now - shown_ < kDrawEvery) return;
    std::printf("\r\033[K%s", progress(measure).c_str());
    std::fflush(stdout);
    drawn_ = true;
  } else {
    if (now - shown_ < kLineEvery) return;
    line(progress(measure));
  }
  shown_ = now;
}

void Reporter::epoch(const Measure& measure, bool best) {
  if (options_.json) {
    json out = to_json("epoch", measure);
    if (!measure.val_loss) out["val_loss"] = nullptr;
    out["best"] = best;
    return write(out);
  }
  line(progress(measure) + (best ? "  best so far" : ""));
  shown_ = Clock::now();
}

void Reporter::failure(const std::string& actor, const std::string& why, std::int64_t step) {
  if (options_.json)
    return write({{"event", "failure"}, {"actor", actor}, {"reason", why}, {"step", step}});
  line("failure: " + actor + ": " + why);
}

void Reporter::restart(const std::string& actor, double seconds, std::int64_t step) {
  if (options_.json)
    return write({{"event", "restart"},
                  {"actor", actor},
                  {"ms", std::round(seconds * 1e4) / 10},
                  {"step", step}});
  line(format("restart: %s runs again after %.0f ms; the run goes on from step %lld",
              actor.c_str(), seconds * 1e3, static_cast<long long>(step)));
}

void Reporter::save(const std::string& path, std::int64_t step) {
  if (options_.json) write({{"event", "save"}, {"path", path}, {"step", step}});
}

void Reporter::done(const Measure& measure, const std::string& out) {
  const double spent = std::chrono::duration<double>(Clock::now() - began_).count();
  if (options_.json) {
    json object = to_json("done", measure);
    object["seconds"] = spent;
    object["checkpoint"] = out + "/last.safetensors";
    object["best"] = out + "/best.safetensors";
    object["curve"] = out + "/curve.svg";
    return write(object);
  }
  line(format("done: %lld steps in %s, %s", static_cast<long long>(measure.step),
              duration(spent).c_str(), losses(measure).c_str()));
  line("  best  " + out + "/best.safetensors\n  last  " + out + "/last.safetensors\n  curve " +
       out + "/curve.svg");
}

void Reporter::nothing_left(std::int64_t step, const std::string& text) {
  if (options_.json) return write({{"event", "done"}, {"step", step}, {"message", text}});
  line(text);
}

void Reporter::error(const std::string& text) {
  if (options_.json) return write({{"event", "error"}, {"message", text}});
  if (drawn_) line("");
}

}  // namespace rondo::actors
