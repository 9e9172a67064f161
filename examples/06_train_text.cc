// 06 train text: a recurrent network learns a song by heart, on two actors.
//
//        this program (trainer)
//          |  calls, and refs as their arguments
//          v
//     +---------+   activations    +---------+
//     | stage 0 | ---------------> | stage 1 |     layer 0            layer 1 and the
//     |  (worker)| <-------------- |  (worker)|    lives here         head live here
//     +---------+    gradients     +---------+
//
//     build/bin/06_train_text
//
// Expected output:
//     step 1: 3.2 nats a character
//     ...
//     step 240: 0.1 nats a character
//     it goes on: row, row your boat, ...
//
// `rondo train --text FILE` does the same with checkpoints, validation and resume.

#include <atomic>
#include <cstdio>
#include <string>

#include <rondo/actors/evaluate.h>
#include <rondo/actors/group.h>

using namespace rondo::actors;

const std::string kSong =
    "row, row, row your boat, gently down the stream;\n"
    "merrily, merrily, merrily, merrily, life is but a dream.\n";

int main(int argc, char** argv) {
  rondo::Registry registry;
  register_stage_actor(registry);
  rondo::Runtime runtime(argc, argv, registry);

  std::string text;
  for (int i = 0; i < 40; ++i) text += kSong;
  RunSpec spec;
  spec.data.vocabulary = vocabulary_of(text, TokenKind::kChar).value();
  const int letters = spec.data.vocabulary.size();
  spec.model = {CellKind::kLstm, Activation::kTanh, DataKind::kTokens, 2, 64, letters, letters};
  spec.seq = 40;
  spec.batch = 8;
  spec.lr = 5e-3;
  spec.layout = {.replicas = 1, .stages = 2, .microbatches = 2};
  const Streams streams = Streams::of_tokens(encode(spec.data.vocabulary, text).value(),
                                             {.batch = 8, .seq = 40, .val_frac = 0}).value();

  const std::atomic<int> stop{0};
  Reporter reporter({});
  Group group(runtime, spec, streams, reporter, stop, {.threads = 1, .name = "song"});
  group.start({first_version({spec, 0, 0}), first_version({spec, 0, 1})}, 0);
  const auto segments = static_cast<int>(streams.training().size());
  for (int step = 1; step <= 240; ++step) {
    const int at = (step - 1) % segments;
    const auto loss = group.step(
        {streams.training()[static_cast<std::size_t>(at)], at == 0, spec.lr, step});
    group.commit();
    if (step == 1 || step % 60 == 0)
      std::printf("step %d: %.1f nats a character\n", step, *loss / (spec.seq * spec.batch));
  }

  TrainedModel model{spec, {}};
  for (const StageSnapshot& stage : group.committed())
    model.parameters.insert(model.parameters.end(), stage.parameters.begin(),
                            stage.parameters.end());
  const rondo::ops::Executor executor(1);
  std::string song;
  sample(*single_stage(model, executor), encode(spec.data.vocabulary, "row,").value(),
         {.length = 90, .temperature = 0.3}, [&](std::int32_t letter) {
           song += spec.data.vocabulary.tokens[static_cast<std::size_t>(letter)];
           return true;
         });
  std::printf("it goes on:%s\n", song.c_str());
}
