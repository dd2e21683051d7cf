import Glibc
import Reactor
import Telemetry
import VersionedStore

/// `millrace kv export|import|backup` and `millrace kv-clean`: work on the store itself, without a server.
enum StoreTool {
  /// Does what the first operand of `millrace kv` says.
  /// - Throws: `CommandError`: 1 if the store or a file fails, 2 for a wrong command line, 78 if there is no store.
  static func run(_ action: KeyValueAction, _ configuration: Configuration) throws(CommandError) {
    let arguments = Array(configuration.operands.dropFirst())
    switch action {
    case .export:
      try KeyValueTool.none(arguments, action)
      try export(configuration)
    case .import:
      try KeyValueTool.none(arguments, action)
      try fill(configuration)
    default:
      guard arguments.count == 1 else { throw .usage("'backup' needs a folder to make, and nothing else") }
      guard !KeyValueRole.isInPostgres(configuration) else {
        throw .usage("'backup' copies files; of a store in PostgreSQL 'export' or pg_dump makes a copy")
      }
      let keeper = try keeper(configuration)
      try told { () throws(StoreError) in try keeper.backUp(to: arguments[0]) }
    }
  }

  private static func folder(_ configuration: Configuration) -> String { configuration.text(.kvData) ?? "" }

  private static func keeper(_ configuration: Configuration) throws(CommandError) -> StoreKeeper {
    let folder = folder(configuration)
    return StoreKeeper(
      try told { () throws(StoreError) in try StoreFolder(existing: folder) },
      holder: "millrace \(configuration.command)")
  }

  private static func told<R>(_ body: () throws(StoreError) -> R) throws(CommandError) -> R {
    do throws(StoreError) { return try body() } catch { throw KeyValueRole.failure(error) }
  }

  private static func export(_ configuration: Configuration) throws(CommandError) {
    let output = LineOutput()
    if KeyValueRole.isInPostgres(configuration) {
      try withPostgres(configuration) { (keeper, reactor) throws(StoreError) in
        try await keeper.forEachLine({ output.write($0.json) }, on: reactor)
      }
    } else {
      let keeper = try keeper(configuration)
      try told { () throws(StoreError) in try keeper.forEachLine { output.write($0.json) } }
    }
    guard output.end() else { throw CommandError(message: "the output cannot be written", exitCode: ExitCode.failure) }
  }

  private static func fill(_ configuration: Configuration) throws(CommandError) {
    let input = ArchiveInput()
    let count: Int
    if KeyValueRole.isInPostgres(configuration) {
      count = try withPostgres(configuration) { (keeper, reactor) throws(StoreError) in
        try await keeper.fill({ () throws(StoreError) in try input.next() }, on: reactor)
      }
    } else {
      let keeper = StoreKeeper(try KeyValueRole.makeFolder(configuration), holder: "millrace kv import")
      count = try told { () throws(StoreError) in
        try keeper.fill { () throws(StoreError) in try input.next() }
      }
    }
    Output.write("Put in \(count) versions.\n")
  }

  /// Runs `body` with the store in PostgreSQL.
  private static func withPostgres<R: Sendable>(
    _ configuration: Configuration,
    _ body: @escaping @Sendable (PostgresKeeper, isolated Reactor) async throws(StoreError) -> R
  ) throws(CommandError) -> R {
    let (postgres, wished) = (configuration.postgres, configuration.partitions)
    let log = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "kv", level: .error)
    defer { log.flush() }
    let result = try OneTask.run { (pool, reactor) async throws(StoreError) -> R in
      let keeper = try await PostgresKeeper.connect(
        postgres, partitions: wished ?? KeyValueRole.partitionsUsual, isWish: wished != nil, pool: pool, log: log,
        on: reactor)
      defer { keeper.close(on: reactor) }
      return try await body(keeper, reactor)
    }
    do throws(StoreError) { return try result.get() } catch { throw KeyValueRole.databaseFailure(error) }
  }

  /// `millrace kv-clean`
  /// - Throws: `CommandError`: 1 if a server has the store and it is not to be done beside it, or nobody has agreed.
  static func clean(_ configuration: Configuration) throws(CommandError) {
    let most = configuration.integer(.kvMaxVersions)
    let isInPostgres = KeyValueRole.isInPostgres(configuration)
    let (figures, waste) =
      if isInPostgres {
        try withPostgres(configuration) { (keeper, reactor) throws(StoreError) in
          try await keeper.survey(maxVersions: most, on: reactor)
        }
      } else {
        try told { [keeper = try keeper(configuration)] () throws(StoreError) in try keeper.survey(maxVersions: most) }
      }
    Output.write(
      """
      \(figures.keys) keys, \(figures.versions) versions, \(figures.fileBytes) bytes of files.
      Nobody needs \(waste.versions) versions with \(waste.bytes) bytes, and \(waste.names) names of changes.

      """)
    if configuration.isOn(.dryRun) { return }
    if !configuration.isOn(.kvConfirm) {
      guard isatty(STDIN_FILENO) == 1 else {
        throw .usage("say --confirm to remove that, or --dry-run only to see it")
      }
      Output.write("Remove that? [y/N] ")
      guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
        throw CommandError(message: "nothing was removed", exitCode: ExitCode.failure)
      }
    }
    if isInPostgres {
      // Beside servers or not: PostgreSQL has everybody wait for their turn.
      try withPostgres(configuration) { (keeper, reactor) throws(StoreError) in
        try await keeper.clean(maxVersions: most, on: reactor)
      }
    } else {
      let (keeper, isOnline) = (try keeper(configuration), configuration.isOn(.kvOnline))
      try told { () throws(StoreError) in try keeper.clean(maxVersions: most, isOnline: isOnline) }
    }
    Output.write("Removed.\n")
  }
}

/// Lines to standard output, many in a write.
private final class LineOutput: @unchecked Sendable {
  // Safe because: the reactor that writes runs on the thread that has made it and waits for it.
  private static let pieceBytes = 256 << 10
  private var buffer: [UInt8] = []
  private var isBroken = false

  func write(_ line: [UInt8]) {
    buffer += line
    buffer.append(0x0A)
    if buffer.count >= LineOutput.pieceBytes { flush() }
  }

  /// Whether all was written.
  func end() -> Bool {
    flush()
    return !isBroken
  }

  private func flush() {
    var rest = buffer[...]
    while !rest.isEmpty, !isBroken {
      let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { isBroken = true }
    }
    buffer.removeAll(keepingCapacity: true)
  }
}

/// Versions of keys from standard input.
private final class ArchiveInput: @unchecked Sendable {
  // Safe because: the reactor that reads runs on the thread that has made it and waits for it.
  private let lines = LineInput()
  private var number = 0

  /// The next one, nil behind the last.
  /// - Throws: `StoreError` for a line that is none.
  func next() throws(StoreError) -> ArchiveLine? {
    guard let line = lines.next() else { return nil }
    number += 1
    guard let parsed = ArchiveLine(json: line) else {
      throw .failed("line \(number) is not a version of a key, as 'export' writes it")
    }
    return parsed
  }
}

/// Lines of standard input.
private final class LineInput {
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAtEnd = false

  /// The next line without its end, nil behind the last.
  func next() -> [UInt8]? {
    var looked = start
    while true {
      if let end = buffer[looked...].firstIndex(of: 0x0A) {
        let line = Array(buffer[start..<end])
        start = end + 1
        return line
      }
      looked = buffer.count
      guard !isAtEnd else {
        defer { start = buffer.count }
        return start < buffer.count ? Array(buffer[start...]) : nil
      }
      buffer.removeFirst(start)
      (looked, start) = (looked - start, 0)
      var piece = [UInt8](repeating: 0, count: 256 << 10)
      let count = read(STDIN_FILENO, &piece, piece.count)
      if count > 0 { buffer += piece[..<count] } else if count == 0 || errno != EINTR { isAtEnd = true }
    }
  }
}
