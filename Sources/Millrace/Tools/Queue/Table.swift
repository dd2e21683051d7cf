import Basics

/// Rows for a person, in columns as wide as they need to be, or for a program, a JSON object a line.
struct Table {
  /// A value of a row.
  enum Cell {
    case text(String)
    case number(Int64)
    case seconds(Double)
    case time(Timestamp?)
    case json([UInt8]?)
    case list([Int64])

    var shown: String {
      switch self {
      case .text(let text): text
      case .number(let number): String(number)
      case .seconds(let seconds): Table.span(seconds)
      case .time(let time): time.map { String(decoding: $0.rfc3339.prefix(19), as: UTF8.self) + "Z" } ?? "-"
      case .json(let json): json.map { String(decoding: $0, as: UTF8.self) } ?? "-"
      case .list(let numbers): numbers.map(String.init).joined(separator: ",")
      }
    }

    func write(_ name: String, _ json: inout JSONWriter) {
      json.key(name)
      switch self {
      case .text(let text): json.string(text)
      case .number(let number): json.integer(number)
      case .seconds(let seconds): json.double(seconds)
      case .time(let time): if let time { json.string(time.rfc3339) } else { json.null() }
      case .json(let bytes): if let bytes { json.raw(bytes) } else { json.null() }
      case .list(let numbers): json.array { json in for number in numbers { json.integer(number) } }
      }
    }
  }

  /// The names of the columns, in lower case with underscores.
  let columns: [String]
  private(set) var rows: [[Cell]] = []

  init(_ columns: String...) {
    self.columns = columns
  }

  mutating func add(_ cells: Cell...) {
    precondition(cells.count == columns.count, "a row has a cell for each column")
    rows.append(cells)
  }

  /// What is printed, each line with its end.
  func text(asJSON: Bool) -> String {
    if asJSON {
      return rows.map { row in
        var json = JSONWriter()
        json.object { json in for (name, cell) in zip(columns, row) { cell.write(name, &json) } }
        return String(decoding: json.bytes, as: UTF8.self) + "\n"
      }.joined()
    }
    let lines = [columns.map { $0.replacing("_", with: " ") }] + rows.map { $0.map(\.shown) }
    let widths = columns.indices.map { column in lines.lazy.map { $0[column].count }.max() ?? 0 }
    return lines.map { line in
      var text = ""
      for (column, cell) in line.enumerated() {
        text += column == line.count - 1 ? cell : Help.pad(cell, widths[column] + 2)
      }
      return text + "\n"
    }.joined()
  }

  /// A span as people read it.
  private static func span(_ seconds: Double) -> String {
    switch seconds {
    case ..<1: "\(Int((seconds * 1000).rounded())) ms"
    case ..<120: "\((seconds * 10).rounded() / 10) s"
    case ..<7200: "\(Int(seconds / 60)) min"
    case ..<172_800: "\(Int(seconds / 3600)) h"
    default: "\(Int(seconds / 86_400)) days"
    }
  }
}
