import Foundation

/// The Swift files of the repository, or made-up ones.
struct SourceTree {
  struct File {
    let path: String
    let lines: [String]
    /// The lines without their comments.
    let code: [String]
    /// The words of the code.
    let words: Set<String>

    init(path: String, lines: [String]) {
      self.path = path
      self.lines = lines
      code = lines.map { line in line.range(of: "//").map { String(line[..<$0.lowerBound]) } ?? line }
      words = Set(code.flatMap(Words.init))
    }

    /// The room that the file belongs to; a room's own tests belong to it too.
    var room: String {
      let folders = path.split(separator: "/")
      guard folders.count > 1 else { return "" }
      return folders[1].hasSuffix("Tests") ? String(folders[1].dropLast(5)) : String(folders[1])
    }

    var isSource: Bool { path.hasPrefix("Sources/") }

    var folder: String { path.split(separator: "/").dropLast().joined(separator: "/") }

    /// The type that the file is named after: parts of a type live in `Type+Aspect.swift`.
    var subject: String {
      String(path.split(separator: "/").last?.split { $0 == "+" || $0 == "." }.first ?? "")
    }

    /// The modules that the file imports.
    var imports: [String] {
      lines.compactMap { line in
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index + 1 < words.count else { return nil }
        let isImport = words[..<index].allSatisfy { $0.hasPrefix("@") || ["public", "internal"].contains($0) }
        return isImport ? words[index + 1].split(separator: ".").first.map(String.init) : nil
      }
    }
  }

  let root: String
  let files: [File]

  /// The repository that this test stands in.
  init() {
    let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
    self.root = root
    files = ["Sources", "Tests"].flatMap { folder -> [File] in
      let paths = FileManager.default.enumerator(atPath: root + "/" + folder)?.compactMap { $0 as? String } ?? []
      return paths.filter { $0.hasSuffix(".swift") }.sorted().map { path in
        let text = (try? String(contentsOfFile: "\(root)/\(folder)/\(path)", encoding: .utf8)) ?? ""
        var lines = text.components(separatedBy: "\n")
        if lines.last == "" { lines.removeLast() }
        return File(path: folder + "/" + path, lines: lines)
      }
    }
  }

  /// Made-up files.
  init(files: [File]) {
    root = "/nowhere"
    self.files = files
  }

  /// Made-up files, each a path and its text.
  init(_ texts: KeyValuePairs<String, String>) {
    self.init(files: texts.map { File(path: $0.key, lines: $0.value.components(separatedBy: "\n")) })
  }

  var sources: [File] { files.filter(\.isSource) }
}
