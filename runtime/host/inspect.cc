#include <rondo/host/inspect.h>

#include <nlohmann/json.hpp>

namespace rondo::host {

namespace {

nlohmann::ordered_json shown(const core::KeepersOf& kept, const store::HoldScanner* holds) {
  if (holds == nullptr) return nullptr;
  return 1 + holds->holders(kept.extent, kept.generation, kept.owner);
}
nlohmann::ordered_json shown(const auto& value, const store::HoldScanner*) { return value; }

}  // namespace

std::string to_json(const core::Listing& listing, const store::HoldScanner* holds) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const core::ListingRow& row : listing.rows) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const auto& [key, cell] : row)
      object[key] = std::visit([holds](const auto& value) { return shown(value, holds); }, cell);
    rows.push_back(std::move(object));
  }
  // A cause of death may quote a log that is not UTF-8.
  return rows.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace rondo::host
