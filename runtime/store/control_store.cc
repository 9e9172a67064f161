#include <rondo/store/control_store.h>

#include <sqlite3.h>
#include <sys/stat.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace rondo::store {

namespace {
constexpr int kSchemaVersion = 1;
constexpr int kApplicationId = 0x524E444F;  // "RNDO"
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::size_t kBatchesQueuedMax = 262'144;
constexpr std::size_t kWritesACommitMax = 4'096;

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

Error words(const std::string& path, sqlite3* db, int code) {
  const std::string file = "the head's state (" + path + ")";
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::kUnavailable, file + " is in use by another head: end that one first"};
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return {ErrorCode::kUnavailable,
              file + " is damaged: move it away to start with an empty cluster"};
    case SQLITE_FULL:
      return {ErrorCode::kUnavailable, file + " cannot grow: the disk is full"};
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return {ErrorCode::kUnavailable,
              file + " cannot be opened for writing: check the folder and its mode"};
    default:
      return {ErrorCode::kUnavailable,
              file + " failed: " + (db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code))};
  }
}

// The one connection. One thread at a time.
class Connection {
 public:
  Connection(std::string path, Database db) : path_(std::move(path)), db_(std::move(db)) {}

  Result<void> run(const std::string& sql) {
    const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return failure(code);
    return {};
  }

  Result<std::string> ask(const std::string& sql) {
    auto statement = prepare(sql);
    if (!statement) return statement.error();
    const int code = sqlite3_step(statement.value().get());
    if (code == SQLITE_DONE) return std::string();
    if (code != SQLITE_ROW) return failure(code);
    const auto* text = sqlite3_column_text(statement.value().get(), 0);
    return std::string(text != nullptr ? reinterpret_cast<const char*>(text) : "");
  }

  Result<Statement> prepare(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v2(db_.get(), sql.c_str(), -1, &statement, nullptr);
    if (code != SQLITE_OK) return failure(code);
    return Statement(statement);
  }

  Error failure(int code) const { return words(path_, db_.get(), code); }

 private:
  const std::string path_;
  const Database db_;
};

Result<std::unique_ptr<Connection>> connect(const SqliteOptions& options) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(options.path.c_str(), &raw, flags, nullptr);
  Database db(raw);
  if (code != SQLITE_OK) return words(options.path, nullptr, code);
  sqlite3_extended_result_codes(db.get(), 1);
  auto connection = std::make_unique<Connection>(options.path, std::move(db));
  // Exclusive before the first look: then WAL needs no shared-memory file, and a second head is
  // refused.
  for (const std::string& sql :
       {std::string("PRAGMA locking_mode = EXCLUSIVE"), std::string("PRAGMA journal_mode = WAL"),
        std::string("PRAGMA synchronous = FULL"),
        "PRAGMA max_page_count = " + std::to_string(options.bytes_max / kPageBytes),
        std::string("BEGIN EXCLUSIVE; COMMIT")})
    if (auto done = connection->run(sql); !done) return done.error();
  ::chmod(options.path.c_str(), 0600);
  return connection;
}

Result<void> check_schema(Connection& db, const std::string& path) {
  const auto version = db.ask("PRAGMA user_version");
  if (!version) return version.error();
  const auto tables = db.ask("SELECT count(*) FROM sqlite_master");
  if (!tables) return tables.error();
  if (version.value() == "0" && tables.value() == "0")
    return db.run(
        "BEGIN; CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
        "PRAGMA application_id = " +
        std::to_string(kApplicationId) +
        "; PRAGMA user_version = " + std::to_string(kSchemaVersion) + "; COMMIT");
  const auto application = db.ask("PRAGMA application_id");
  if (!application) return application.error();
  if (application.value() != std::to_string(kApplicationId))
    return Error(ErrorCode::kUnavailable,
                 "the head's state (" + path + ") is another program's database");
  if (version.value() != std::to_string(kSchemaVersion))
    return Error(ErrorCode::kUnavailable,
                 "the head's state (" + path + ") has schema " + version.value() +
                     ", this head needs " + std::to_string(kSchemaVersion) +
                     ": start the head that wrote it, or move the file away");
  const auto sound = db.ask("PRAGMA quick_check(1)");
  if (!sound) return sound.error();
  if (sound.value() != "ok") return words(path, nullptr, SQLITE_CORRUPT);
  return {};
}

class SqliteStore final : public ControlStore {
 public:
  SqliteStore(SqliteOptions options, std::unique_ptr<Connection> db, Statement put, Statement erase)
      : options_(std::move(options)),
        db_(std::move(db)),
        put_(std::move(put)),
        erase_(std::move(erase)),
        thread_([this] { work(); }) {}

  ~SqliteStore() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    filled_.notify_one();
    thread_.join();
  }

  Result<ControlRows> load() override;

  void write(ControlBatch batch) override {
    {
      const std::lock_guard lock(mutex_);
      RONDO_CHECK_LT(last_written_, batch.number);
      last_written_ = batch.number;
      if (failure_) return;
      if (queue_.size() == kBatchesQueuedMax)
        failure_ = Error(ErrorCode::kUnavailable,
                         "the head's state (" + options_.path +
                             ") is written too slowly: too many changes wait for the disk");
      else queue_.push_back(std::move(batch));
    }
    filled_.notify_one();
  }

  std::uint64_t durable() const override { return durable_.load(std::memory_order_acquire); }
  std::optional<Error> failure() const override {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void work();
  Result<void> commit(const std::vector<ControlBatch>& batches);
  Result<void> apply(const ControlWrite& write);
  std::vector<ControlBatch> take();

  const SqliteOptions options_;
  std::mutex db_mutex_;                   // load against the thread
  const std::unique_ptr<Connection> db_;  // guarded by db_mutex_
  const Statement put_;                   // guarded by db_mutex_
  const Statement erase_;                 // guarded by db_mutex_
  std::atomic<std::uint64_t> durable_{0};
  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<ControlBatch> queue_;  // guarded by mutex_
  std::optional<Error> failure_;    // guarded by mutex_
  std::uint64_t last_written_ = 0;  // guarded by mutex_
  bool ending_ = false;             // guarded by mutex_
  std::thread thread_;              // last: it uses all of these
};

Result<ControlRows> SqliteStore::load() {
  const std::lock_guard lock(db_mutex_);
  auto statement = db_->prepare("SELECT key, value FROM rows");
  if (!statement) return statement.error();
  sqlite3_stmt* row = statement.value().get();
  ControlRows rows;
  for (;;) {
    const int code = sqlite3_step(row);
    if (code == SQLITE_DONE) return rows;
    if (code != SQLITE_ROW) return db_->failure(code);
    const auto column = [row](int n) {
      const auto* at = static_cast<const std::byte*>(sqlite3_column_blob(row, n));
      return ByteView(at, static_cast<std::size_t>(sqlite3_column_bytes(row, n)));
    };
    rows.emplace(as_text(column(0)), to_bytes(column(1)));
  }
}

// Everything that waits becomes one commit: while a commit is on its way to the disk, the next
// gathers.
std::vector<ControlBatch> SqliteStore::take() {
  std::unique_lock lock(mutex_);
  filled_.wait(lock, [this] { return ending_ || failure_ || !queue_.empty(); });
  std::vector<ControlBatch> batches;
  if (failure_) return batches;
  std::size_t writes = 0;
  while (!queue_.empty() && writes < kWritesACommitMax) {
    writes += queue_.front().writes.size() + 1;
    batches.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return batches;
}

void SqliteStore::work() {
  for (;;) {
    const std::vector<ControlBatch> batches = take();
    if (batches.empty()) break;  // ending or failed
    const Result<void> done = commit(batches);
    if (done) {
      durable_.store(batches.back().number, std::memory_order_release);
    } else {
      const std::lock_guard lock(mutex_);
      failure_ = done.error();
      queue_.clear();
    }
    if (options_.wake) options_.wake();
    if (!done) return;
  }
  if (failure() && options_.wake) options_.wake();
}

Result<void> SqliteStore::commit(const std::vector<ControlBatch>& batches) {
  const std::lock_guard lock(db_mutex_);
  if (auto begun = db_->run("BEGIN IMMEDIATE"); !begun) return begun;
  for (const ControlBatch& batch : batches)
    for (const ControlWrite& write : batch.writes)
      if (auto applied = apply(write); !applied) {
        (void)db_->run("ROLLBACK");
        return applied;
      }
  auto committed = db_->run("COMMIT");
  if (!committed) (void)db_->run("ROLLBACK");
  return committed;
}

Result<void> SqliteStore::apply(const ControlWrite& write) {
  sqlite3_stmt* statement = write.value ? put_.get() : erase_.get();
  sqlite3_bind_blob64(statement, 1, write.key.data(), write.key.size(), SQLITE_STATIC);
  if (write.value) {
    const void* bytes = write.value->empty() ? static_cast<const void*>("") : write.value->data();
    sqlite3_bind_blob64(statement, 2, bytes, write.value->size(), SQLITE_STATIC);
  }
  const int code = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (code != SQLITE_DONE) return db_->failure(code);
  return {};
}
}  // namespace

Result<std::unique_ptr<ControlStore>> open_sqlite_store(SqliteOptions options) {
  auto db = connect(options);
  if (!db) return db.error();
  if (auto sound = check_schema(*db.value(), options.path); !sound) return sound.error();
  auto put = db.value()->prepare(
      "INSERT INTO rows VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2");
  if (!put) return put.error();
  auto erase = db.value()->prepare("DELETE FROM rows WHERE key = ?1");
  if (!erase) return erase.error();
  return std::unique_ptr<ControlStore>(std::make_unique<SqliteStore>(
      std::move(options), std::move(db).value(), std::move(put).value(), std::move(erase).value()));
}

}  // namespace rondo::store
