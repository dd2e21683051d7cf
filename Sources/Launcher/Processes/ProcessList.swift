import Glibc
import Reactor

/// The processes of a running system, as its launcher writes them down in the data folder for whoever asks how they
/// are: a line for itself, with where the sockets are, and one for each child, parted by tabs. What a path may have of
/// both is escaped.
struct ProcessList: Equatable {
  /// One child.
  struct Entry: Equatable {
    let name: String
    let pid: pid_t
    let readiness: Readiness
    let place: String
  }

  static let fileName = "processes"

  /// The launcher's process.
  var launcher: pid_t
  /// The folder of the sockets.
  var run: String
  /// The children, in the order in which they start.
  var entries: [Entry]

  init(launcher: pid_t, run: String, entries: [Entry]) {
    self.launcher = launcher
    self.run = run
    self.entries = entries
  }

  /// Nil if `text` is no such list.
  init?(_ text: String) {
    let lines = text.split(separator: "\n").map {
      $0.split(separator: "\t", omittingEmptySubsequences: false).map(ProcessList.unescaped)
    }
    guard let first = lines.first, first.count == 2, let launcher = pid_t(first[0]) else { return nil }
    (self.launcher, run, entries) = (launcher, first[1], [])
    for line in lines.dropFirst() {
      guard line.count == 4, let pid = pid_t(line[1]), let readiness = Readiness(line[2]) else { return nil }
      entries.append(Entry(name: line[0], pid: pid, readiness: readiness, place: line[3]))
    }
  }

  var text: String {
    let lines =
      [["\(launcher)", run]] + entries.map { [$0.name, "\($0.pid)", $0.readiness.text, $0.place] }
    return lines.map { $0.map(ProcessList.escaped).joined(separator: "\t") + "\n" }.joined()
  }

  private static let escapes = [("%", "%25"), ("\t", "%09"), ("\n", "%0A")]

  private static func escaped(_ field: String) -> String {
    escapes.reduce(field) { $0.replacing($1.0, with: $1.1) }
  }

  private static func unescaped(_ field: Substring) -> String {
    escapes.reversed().reduce(String(field)) { $0.replacing($1.1, with: $1.0) }
  }

  /// Replaces what the file at `path` says; whoever reads it sees one list or the other.
  func write(to path: String) throws(SystemError) {
    try TextFile.write(text, to: path + ".new")
    try systemCall("rename") { rename(path + ".new", path) }
  }
}
