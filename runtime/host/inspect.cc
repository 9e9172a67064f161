#include <rondo/host/inspect.h>

#include <nlohmann/json.hpp>

namespace rondo::host {

std::string to_json(const core::Listing& listing) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const core::ListingRow& row : listing.rows) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const auto& [key, cell] : row)
      std::visit([&object, &name = key](const auto& value) { object[name] = value; }, cell);
    rows.push_back(std::move(object));
  }
  // A cause of death may quote a log that is not UTF-8.
  return rows.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace rondo::host
