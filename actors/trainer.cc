#include <rondo/actors/trainer.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>

#include <unistd.h>

namespace rondo::actors {

Trainer::Trainer(const RunSpec& spec, const Progress& progress, const Parties& parties,
                 const Options& options)
    : spec_(spec),
      progress_(progress),
      parties_(parties),
      options_(options),
      goal_(goal_steps(spec, parties.streams)) {}

std::int64_t Trainer::goal_steps(const RunSpec& spec, const Streams& streams) {
  if (spec.steps > 0) return spec.steps;
  return spec.epochs * static_cast<std::int64_t>(streams.training().size());
}

Result<bool> Trainer::run() {
  const auto segments = static_cast<std::int64_t>(parties_.streams.training().size());
  last_.step = progress_.step;
  last_.epoch = progress_.epoch;
  if (!parties_.curve.rows().empty()) last_.loss = parties_.curve.rows().back().loss;
  while (true) {
    if (progress_.position == segments) {
      const auto ended = end_epoch();
      if (!ended) return ended.error();
    }
    if (is_stopped()) {
      if (const auto saved = save("last"); !saved) return saved.error();
      return false;
    }
    if (progress_.step >= goal_) break;
    const auto stepped = do_step();
    if (!stepped) return stepped.error();
    if (!stepped.value()) continue;
    const bool due = options_.save_every > 0 && progress_.step % options_.save_every == 0;
    if (due && progress_.position != segments)
      if (const auto saved = save("last"); !saved) return saved.error();
  }
  return finish();
}

bool Trainer::rescue() {
  std::string why;
  try {
    const auto saved = save("last");
    if (saved) return true;
    why = saved.error().what();
  } catch (const Error& error) {
    why = error.what();
  }
  std::fprintf(stderr, "step %lld could not be saved: %s\n",
               static_cast<long long>(progress_.step), why.c_str());
  return false;
}

// A step whose loss is no number is not committed: what was saved stays the last good one.
Error Trainer::diverged(const char* what) const {
  return {ErrorCode::kTaskFailed,
          std::string(what) + " of step " + std::to_string(progress_.step + 1) +
              " is no finite number, the run has diverged: choose a smaller --lr or a --clip"};
}

// Unless the epoch or the run ends before it: what comes then needs the version in force.
std::optional<Group::Step> Trainer::step_after(const Group::Step& step) const {
  const auto& segments = parties_.streams.training();
  const auto position = static_cast<std::size_t>(progress_.position) + 1;
  if (position == segments.size() || step.number == goal_ || is_stopped()) return std::nullopt;
  return Group::Step{segments[position], false, step.lr, step.number + 1};
}

Result<bool> Trainer::do_step() {
  const auto began = std::chrono::steady_clock::now();
  const Segment& segment =
      parties_.streams.training()[static_cast<std::size_t>(progress_.position)];
  const Group::Step step{segment, progress_.position == 0,
                         learning_rate(spec_, progress_.epoch), progress_.step + 1};
  const std::optional<Group::Step> next = step_after(step);
  const auto sum = parties_.group.step(step, next ? &*next : nullptr);
  if (!sum) return false;
  const double loss = *sum;
  if (!std::isfinite(loss)) return diverged("the loss");
  parties_.group.commit();
  if (options_.timeline != nullptr) options_.timeline->add(parties_.group.spans());
  const std::int64_t tokens = std::int64_t{segment.steps} * spec_.batch;
  progress_.step += 1;
  progress_.position += 1;
  progress_.epoch_loss += loss;
  progress_.epoch_tokens += tokens;
  if (options_.committed) options_.committed();

  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began;
  const double rate = static_cast<double>(tokens) / spent.count();
  const bool first = last_.tokens_per_s == 0;
  last_ = {progress_.step, progress_.epoch, loss / static_cast<double>(tokens), {},
           first ? rate : last_.tokens_per_s * 0.95 + rate * 0.05};
  parties_.curve.add({last_.step, last_.epoch, last_.loss, {}, last_.tokens_per_s});
  parties_.reporter.step(last_);
  return true;
}

std::optional<double> Trainer::validate() {
  const std::vector<Segment>& segments = parties_.streams.validation();
  if (segments.empty()) return std::nullopt;
  const auto sum = parties_.group.validate(segments);
  if (!sum) return std::nullopt;
  std::int64_t tokens = 0;
  for (const Segment& segment : segments) tokens += std::int64_t{segment.steps} * spec_.batch;
  return *sum / static_cast<double>(tokens);
}

Result<void> Trainer::keep_if_best(double loss) {
  if (!std::isfinite(loss)) return diverged("the validation loss before the update");
  if (progress_.best_epoch != 0 && !(loss < progress_.best)) return {};
  progress_.best = loss;
  progress_.best_epoch = progress_.epoch;
  return save("best");
}

Result<bool> Trainer::end_epoch() {
  const auto val_loss = validate();
  if (!val_loss && is_stopped()) return false;
  const double loss = progress_.epoch_loss / static_cast<double>(progress_.epoch_tokens);
  Reporter::Measure measure = last_;
  measure.loss = loss;
  measure.val_loss = val_loss;
  measure.epoch = progress_.epoch;
  if (val_loss) parties_.curve.set_validation(*val_loss);
  if (const auto kept = keep_if_best(val_loss.value_or(loss)); !kept) return kept.error();
  parties_.reporter.epoch(measure, progress_.best_epoch == progress_.epoch);
  last_.val_loss = val_loss;
  progress_.epoch += 1;
  progress_.position = 0;
  progress_.epoch_loss = 0;
  progress_.epoch_tokens = 0;
  if (const auto saved = save("last"); !saved) return saved.error();
  return true;
}

// A run that ends inside an epoch is judged there, so that it has a best checkpoint too.
Result<bool> Trainer::finish() {
  if (progress_.position != 0) {
    last_.val_loss = validate();
    if (!last_.val_loss && is_stopped()) {
      if (const auto saved = save("last"); !saved) return saved.error();
      return false;
    }
    if (last_.val_loss) parties_.curve.set_validation(*last_.val_loss);
    if (const auto kept = keep_if_best(last_.val_loss.value_or(last_.loss)); !kept)
      return kept.error();
    if (const auto saved = save("last"); !saved) return saved.error();
  }
  parties_.reporter.done(last_, options_.out);
  return true;
}

// The curve goes first: who resumes drops its rows beyond the checkpoint, and could not make up
// missing ones.
Result<void> Trainer::save(const std::string& name) {
  const std::string path = options_.out + "/" + name + ".safetensors";
  if (const auto drawn = parties_.curve.save(); !drawn) return drawn;
  WriteOptions how;
  how.at = [this, &name](WritePoint point) {
    if (options_.chaos == nullptr || options_.chaos->in_save() != point) return;
    tell_hit(Way::kSave);
    std::fprintf(stderr, "chaos: the driver dies while it writes %s\n", name.c_str());
    ::kill(::getpid(), SIGKILL);
  };
  RunSpec spec = spec_;
  if (!parties_.group.profile().empty()) spec.profile = parties_.group.profile();
  const auto saved = save_run(path, {spec, progress_, parties_.group.committed()}, how);
  if (!saved) return saved;
  parties_.reporter.save(path, progress_.step);
  return {};
}

}  // namespace rondo::actors
