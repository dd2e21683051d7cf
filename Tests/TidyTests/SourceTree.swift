import Foundation

/// The Swift files of the repository.
struct SourceTree {
  struct File {
    let path: String
    let lines: [String]

    /// The modules that the file imports.
    var imports: [String] {
      lines.compactMap { line in
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index + 1 < words.count else { return nil }
        let isImport = words[..<index].allSatisfy { $0.hasPrefix("@") || ["public", "internal"].contains($0) }
        return isImport ? words[index + 1].split(separator: ".").first.map(String.init) : nil
      }
    }

    /// Where functions begin and how long they are; read off the indentation, which the formatter keeps.
    var functions: [(line: Int, length: Int)] {
      var found: [(line: Int, length: Int)] = []
      for (number, line) in lines.enumerated() {
        let text = line.drop { $0 == " " }
        let words = text.split(separator: " ", maxSplits: 8)
        let isFunction = words.contains("func") || words.contains { $0.hasPrefix("init(") || $0.hasPrefix("init?(") }
        guard isFunction, !text.hasPrefix("//"), !text.hasPrefix("self.") else { continue }
        let indentation = String(line.prefix(line.count - text.count))
        // A protocol's requirement has no body: it ends before anything else stands at its indentation.
        guard let end = lines[number...].dropFirst().firstIndex(where: { $0.hasPrefix(indentation + "}") }),
          !lines[number...end].dropFirst().dropLast().contains(where: { isDeclaration($0, at: indentation) })
        else { continue }
        found.append((number + 1, end - number + 1))
      }
      return found
    }

    private func isDeclaration(_ line: String, at indentation: String) -> Bool {
      guard line.hasPrefix(indentation) else { return false }
      let rest = line.dropFirst(indentation.count)
      return rest.first.map { $0.isLetter || $0 == "@" || $0 == "/" } ?? false
    }
  }

  let root: String
  let files: [File]

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
}

/// What Package.swift says of the house: the floor of each room, and which rooms it names.
struct House {
  private(set) var floors: [String: Int] = [:]
  private(set) var dependencies: [String: Set<String>] = [:]
  private(set) var swiftRooms: [String] = []
  private var places: [String: Int] = [:]

  init(root: String) throws {
    let manifest = try String(contentsOfFile: root + "/Package.swift", encoding: .utf8)
    let targets = manifest[(manifest.range(of: "targets: [")?.upperBound ?? manifest.startIndex)...]
    var floor = -1
    var room: String?
    // The formatter breaks a long room behind its parenthesis; the name then stands alone on the next line.
    for line in targets.replacing(/room\(\n +"/, with: "room(\"").replacing(/",\n +\[/, with: "\", [")
      .components(separatedBy: "\n")
    {
      if let comment = line.firstMatch(of: /\/\/ Floor (\d):/) { floor = Int(comment.1) ?? -1 }
      if line.contains("// Tests") { break }
      if let name = line.firstMatch(of: /(room\(|name: )"(\w+)"/) {
        let found = String(name.2)
        room = found
        places[found] = floors.count
        floors[found] = floor
        dependencies[found] = []
        if floor > 0 { swiftRooms.append(found) }
      }
      guard let room else { continue }
      let text = line.contains("pkgConfig") ? "" : line
      for quoted in text.matches(of: /"(\w+)"/) where String(quoted.1) != room {
        dependencies[room]?.insert(String(quoted.1))
      }
    }
  }

  /// Whether `lower` stands before `upper` in the manifest.
  func order(_ lower: String, _ upper: String) -> Bool {
    (places[lower] ?? .max) < (places[upper] ?? .min)
  }
}
