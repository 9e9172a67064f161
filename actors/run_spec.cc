#include <rondo/actors/run_spec.h>

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>


namespace rondo::actors {

namespace {

using nlohmann::json;
using ops::cuda::Precision;

constexpr std::array<std::pair<std::string_view, ops::Optimizer>, 5> kOptimizers{
    {{"sgd", ops::Optimizer::kSgd},
     {"momentum", ops::Optimizer::kMomentum},
     {"nesterov", ops::Optimizer::kNesterov},
     {"rmsprop", ops::Optimizer::kRmsprop},
     {"adam", ops::Optimizer::kAdam}}};

// In the enumeration's order.
constexpr std::array<std::string_view, 3> kPrecisions{"float32", "tf32", "bf16"};

json data_json(const RunSpec& spec) {
  const DataSpec& data = spec.data;
  json out{{"path", data.path}, {"hash", data.hash}};
  if (spec.model.data == DataKind::kTokens) {
    out["tokens"] = to_string(data.tokens);
  } else {
    out["column"] = data.column;
    out["test_rows"] = data.test_rows;
    out["scale"] = {{"logarithm", data.scale.logarithm},
                    {"lag", data.scale.lag},
                    {"mean", data.scale.mean},
                    {"deviation", data.scale.deviation}};
  }
  return out;
}

// A byte that is no UTF-8 by itself cannot stand in JSON: bytes travel as numbers.
json vocabulary_json(const Vocabulary& vocabulary) {
  json out = json::array();
  for (const std::string& token : vocabulary.tokens) {
    if (vocabulary.kind == TokenKind::kByte)
      out.push_back(static_cast<unsigned char>(token[0]));
    else
      out.push_back(token);
  }
  return out;
}

Vocabulary vocabulary_from(const json& in, TokenKind kind) {
  Vocabulary vocabulary{kind, {}};
  for (const json& token : in) {
    if (kind == TokenKind::kByte)
      vocabulary.tokens.emplace_back(1, static_cast<char>(token.get<unsigned char>()));
    else
      vocabulary.tokens.push_back(token.get<std::string>());
  }
  return vocabulary;
}

DataSpec data_from(const json& in, const json& vocabulary, DataKind kind) {
  DataSpec data;
  data.path = in.at("path").get<std::string>();
  data.hash = in.at("hash").get<std::uint64_t>();
  if (kind == DataKind::kTokens) {
    if (!parse(in.at("tokens").get<std::string>(), data.tokens))
      throw std::runtime_error("its tokens are neither char nor byte");
    data.vocabulary = vocabulary_from(vocabulary, data.tokens);
  } else {
    data.column = in.at("column").get<std::string>();
    data.test_rows = in.at("test_rows").get<int>();
    const json& scale = in.at("scale");
    data.scale = {scale.at("logarithm").get<bool>(), scale.at("lag").get<int>(),
                  scale.at("mean").get<double>(), scale.at("deviation").get<double>()};
  }
  return data;
}

constexpr std::array<std::string_view, 11> kModelParts{
    "cell",    "activation", "data",    "layers",     "hidden",   "inputs",
    "outputs", "layer_norm", "dropout", "projection", "embedding"};

// What a model has besides the cells is written only where it has it.
json model_json(const ModelSpec& model) {
  json out{{"cell", to_string(model.cell)},
           {"activation", to_string(model.activation)},
           {"data", model.data == DataKind::kTokens ? "tokens" : "series"},
           {"layers", model.layers},
           {"hidden", model.hidden},
           {"inputs", model.inputs},
           {"outputs", model.outputs}};
  if (model.layer_norm) out["layer_norm"] = true;
  if (model.dropout > 0) out["dropout"] = model.dropout;
  if (model.projection > 0) out["projection"] = model.projection;
  if (model.embedding > 0) out["embedding"] = model.embedding;
  return out;
}

ModelSpec model_from(const json& in) {
  ModelSpec model;
  if (!parse(in.at("cell").get<std::string>(), model.cell) ||
      !parse(in.at("activation").get<std::string>(), model.activation))
    throw std::runtime_error("its cell or activation is unknown");
  model.data = in.at("data") == "tokens" ? DataKind::kTokens : DataKind::kSeries;
  model.layers = in.at("layers").get<int>();
  model.hidden = in.at("hidden").get<int>();
  model.inputs = in.at("inputs").get<int>();
  model.outputs = in.at("outputs").get<int>();
  model.layer_norm = in.value("layer_norm", false);
  model.dropout = in.value("dropout", 0.0);
  model.projection = in.value("projection", 0);
  model.embedding = in.value("embedding", 0);
  // a part that is not known would be left out in silence, and the model be another one
  for (const auto& [name, value] : in.items())
    if (std::find(kModelParts.begin(), kModelParts.end(), name) == kModelParts.end())
      throw std::runtime_error("its model has a part that is unknown here: '" + name + "'");
  return model;
}

void check_sane(const RunSpec& spec) {
  const ModelSpec& model = spec.model;
  const Layout& layout = spec.layout;
  const bool positive = model.layers > 0 && model.hidden > 0 && model.inputs > 0 &&
                        model.outputs > 0 && spec.seq > 0 && spec.batch > 0 &&
                        layout.replicas > 0 && layout.stages > 0 && layout.microbatches > 0;
  const bool bounded = model.layers <= 1024 && model.hidden <= 1 << 16 &&
                       model.inputs <= 1 << 21 && model.outputs <= 1 << 21 &&
                       layout.stages <= model.layers && layout.replicas <= spec.batch &&
                       layout.microbatches <= spec.batch / layout.replicas;
  const bool fits = model.dropout >= 0 && model.dropout < 1 && model.projection >= 0 &&
                    model.projection < model.hidden && model.embedding >= 0 &&
                    model.embedding <= 1 << 16 &&
                    (model.projection == 0 || model.cell == CellKind::kLstm) &&
                    (model.embedding == 0 || model.data == DataKind::kTokens);
  if (!positive || !bounded || !fits) throw std::runtime_error("its sizes make no sense");
  if (model.data == DataKind::kTokens && model.inputs != spec.data.vocabulary.size())
    throw std::runtime_error("its vocabulary does not fit its inputs");
  if (model.data == DataKind::kSeries && (spec.data.scale.lag < 1 || spec.data.test_rows < 1))
    throw std::runtime_error("its series scale makes no sense");
}

RunSpec parse_metadata(const std::map<std::string, std::string>& metadata) {
  const auto part = [&](const char* key) { return json::parse(metadata.at(key)); };
  RunSpec spec;
  spec.model = model_from(part("model"));
  spec.data = data_from(part("data"), part("vocabulary"), spec.model.data);
  const json run = part("run");
  spec.seq = run.at("seq").get<int>();
  spec.batch = run.at("batch").get<int>();
  spec.val_frac = run.at("val_frac").get<double>();
  if (!parse(run.at("optimizer").get<std::string>(), spec.optimizer))
    throw std::runtime_error("its optimizer is unknown");
  spec.lr = run.at("lr").get<double>();
  spec.lr_decay = run.at("lr_decay").get<double>();
  spec.lr_decay_after = run.at("lr_decay_after").get<int>();
  spec.clip = run.at("clip").get<double>();
  spec.epochs = run.at("epochs").get<int>();
  spec.steps = run.at("steps").get<std::int64_t>();
  if (!parse(run.value("device", "cpu"), spec.device))
    throw std::runtime_error("its device is unknown");
  if (!parse(run.value("precision", "float32"), spec.precision))
    throw std::runtime_error("its precision is unknown");
  if (spec.precision != Precision::kFloat32 && spec.device != Device::kGpu)
    throw std::runtime_error("its precision is not one of the CPU");
  spec.seed = part("seed").get<std::uint64_t>();
  const json layout = part("layout");
  spec.layout = {layout.at("replicas").get<int>(), layout.at("stages").get<int>(),
                 layout.at("microbatches").get<int>()};
  spec.profile = metadata.at("profile");
  check_sane(spec);
  return spec;
}

}  // namespace

std::string_view to_string(ops::Optimizer rule) {
  return kOptimizers[static_cast<std::size_t>(rule)].first;
}

bool parse(std::string_view text, ops::Optimizer& out) {
  for (const auto& [name, rule] : kOptimizers) {
    if (name == text) {
      out = rule;
      return true;
    }
  }
  return false;
}

std::string_view to_string(Device device) { return device == Device::kGpu ? "gpu" : "cpu"; }

bool parse(std::string_view text, Device& out) {
  out = text == "gpu" ? Device::kGpu : Device::kCpu;
  return text == "gpu" || text == "cpu";
}

std::string_view to_string(Precision precision) {
  return kPrecisions[static_cast<std::size_t>(precision)];
}

bool parse(std::string_view text, Precision& out) {
  const auto found = std::find(kPrecisions.begin(), kPrecisions.end(), text);
  if (found == kPrecisions.end()) return false;
  out = static_cast<Precision>(found - kPrecisions.begin());
  return true;
}

double learning_rate(const RunSpec& spec, int epoch) {
  double rate = spec.lr;
  for (int past = spec.lr_decay_after; past < epoch; ++past) rate *= spec.lr_decay;
  return rate;
}

std::map<std::string, std::string> to_metadata(const RunSpec& spec) {
  const json run{{"seq", spec.seq},
                 {"batch", spec.batch},
                 {"val_frac", spec.val_frac},
                 {"optimizer", to_string(spec.optimizer)},
                 {"lr", spec.lr},
                 {"lr_decay", spec.lr_decay},
                 {"lr_decay_after", spec.lr_decay_after},
                 {"clip", spec.clip},
                 {"epochs", spec.epochs},
                 {"steps", spec.steps},
                 {"device", to_string(spec.device)},
                 {"precision", to_string(spec.precision)}};
  const json layout{{"replicas", spec.layout.replicas},
                    {"stages", spec.layout.stages},
                    {"microbatches", spec.layout.microbatches}};
  return {{"format", "pt"},
          {"rondo", "1"},
          {"model", model_json(spec.model).dump()},
          {"data", data_json(spec).dump()},
          {"vocabulary", vocabulary_json(spec.data.vocabulary).dump()},
          {"run", run.dump()},
          {"seed", json(spec.seed).dump()},
          {"layout", layout.dump()},
          {"profile", spec.profile}};
}

Result<RunSpec> from_metadata(const std::map<std::string, std::string>& metadata) {
  const auto version = metadata.find("rondo");
  if (version == metadata.end())
    return Error(ErrorCode::kInvalid, "it was not written by rondo (no such metadata)");
  if (version->second != "1")
    return Error(ErrorCode::kInvalid, "it was written by another version of rondo (format " +
                                          version->second + ", this one reads 1)");
  try {
    return parse_metadata(metadata);
  } catch (const std::out_of_range&) {
    return Error(ErrorCode::kInvalid, "its metadata lacks a part");
  } catch (const std::exception& error) {
    return Error(ErrorCode::kInvalid, std::string("its metadata is damaged: ") + error.what());
  }
}

}  // namespace rondo::actors
