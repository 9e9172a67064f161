// 07 forecast a series: monthly airline passengers, one month ahead, from
// examples/data/airline.csv.
//
//     rows --log, difference to a year ago, scale--> network --the way back--> next month
//     [ 96 rows to learn from | 48 rows that it never saw: judged on these ]
//
//     build/bin/07_forecast_series [FILE COLUMN]
//
// Expected output:
//     season: 12 rows; 144 rows, 48 of them for the test
//     root mean square error 16 passengers; "as last month" is off by 48
//
// `rondo train --csv FILE --column NAME --test-rows 48`, then `rondo eval`, do the same.

#include <atomic>
#include <cstdio>

#include <rondo/actors/csv.h>
#include <rondo/actors/dataset.h>
#include <rondo/actors/evaluate.h>
#include <rondo/actors/group.h>

using namespace rondo::actors;

int main(int argc, char** argv) {
  rondo::Registry registry;
  register_stage_actor(registry);
  rondo::Runtime runtime(argc, argv, registry);

  RunSpec spec;
  spec.model = {CellKind::kGru, Activation::kTanh, DataKind::kSeries, 1, 16, 1, 1};
  spec.data.path = argc > 2 ? argv[1] : RONDO_EXAMPLES_DIR "/data/airline.csv";
  spec.data.column = argc > 2 ? argv[2] : "passengers";
  spec.data.test_rows = 48;
  spec.seq = 128;
  spec.batch = 1;
  spec.val_frac = 0.2;
  spec.optimizer = rondo::ops::Optimizer::kAdam;
  spec.lr = 3e-3;
  const std::string bytes = read_file(spec.data.path).value();
  if (const auto described = describe_data(bytes, spec); !described) {
    std::fprintf(stderr, "%s\n", described.error().what());
    return 1;
  }
  const Streams streams = load_streams(bytes, spec).value();
  const std::vector<double> rows = read_column(spec.data.path, bytes, spec.data.column).value();
  std::printf("season: %d rows; %zu rows, %d of them for the test\n", spec.data.scale.lag,
              rows.size(), spec.data.test_rows);

  const std::atomic<int> stop{0};
  Reporter reporter({});
  Group group(runtime, spec, streams, reporter, stop, {.threads = 1, .name = "airline"});
  group.start({first_version({spec, 0, 0})}, 0);
  TrainedModel best{spec, {}};
  double lowest = 1e9;
  for (int step = 1; step <= 100; ++step) {   // the whole series is one segment: a step is an epoch
    static_cast<void>(group.step({streams.training()[0], true, spec.lr, step}));
    group.commit();
    const double loss = *group.validate(streams.validation());
    if (loss >= lowest) continue;
    lowest = loss;
    best.parameters = group.committed()[0].parameters;
  }

  const rondo::ops::Executor executor(1);
  const Forecast judged =
      forecast(*single_stage(best, executor), spec.data.scale, rows, spec.data.test_rows).value();
  std::printf("root mean square error %.0f passengers; \"as last month\" is off by %.0f\n",
              judged.rmse, judged.persistence_rmse);
}
