extension SourceTree {
  /// Public declarations that nobody outside their room calls.
  ///
  /// A declaration counts as called if its name stands in another room or in another room's tests, or if the signature
  /// of a public declaration of its own room needs it (what that one is for is asked in its turn). A room's own tests
  /// see what is internal. So a name that two rooms use for different things hides a fault, and never makes one up.
  ///
  /// - Parameter exceptions: names with the reason why nobody has to call them; one that is not needed is a fault too.
  func uncalledPublics(exceptions: [String: String]) -> [String] {
    var rooms: [String: Set<String>] = [:]
    // The tidy tests call nobody: they list names.
    for file in files where file.room != "Tidy" {
      for word in file.words { rooms[word, default: []].insert(file.room) }
    }
    var needed: [String: Set<String>] = [:]
    for file in sources { needed[file.room, default: []].formUnion(file.neededBySignatures) }
    var unused = Set(exceptions.keys)
    var faults: [String] = []
    for file in sources {
      for (line, name) in file.publicNames {
        let isCalled = rooms[name]?.subtracting([file.room]).isEmpty == false
        if isCalled || needed[file.room]?.contains(name) == true { continue }
        if exceptions[name] != nil {
          unused.remove(name)
        } else {
          faults.append("\(file.path):\(line) declares \(name) public, and nobody outside \(file.room) calls it")
        }
      }
    }
    return faults + unused.sorted().map { "\($0) is listed as an exception and is none" }
  }
}

extension SourceTree.File {
  private static let kinds: Set = [
    "func", "var", "let", "struct", "enum", "class", "actor", "protocol", "typealias", "case",
  ]

  /// What the file declares public, with the number of the line.
  fileprivate var publicNames: [(line: Int, name: String)] {
    code.enumerated().compactMap { number, line in
      let words = Array(Words(line))
      guard let kind = words.firstIndex(where: Self.kinds.contains), words[..<kind].contains("public"),
        kind + 1 < words.count
      else { return nil }
      return (number + 1, words[kind + 1])
    }
  }

  /// The names that the signatures of public declarations need: types and the values of defaults, but neither labels
  /// nor what is declared itself.
  fileprivate var neededBySignatures: Set<String> {
    var found: Set<String> = []
    var isProtocol = false
    for (number, line) in code.enumerated() {
      let trimmed = line.drop { $0 == " " }
      let isCase = trimmed.hasPrefix("case ") && !trimmed.hasPrefix("case .") && trimmed.contains("(")
      if isProtocol || isCase { found.formUnion(Words.withoutLabels(line)) }
      if line.hasPrefix("public protocol") { isProtocol = true }
      if line.hasPrefix("}") { isProtocol = false }
      guard !isProtocol, line.contains("public "), !line.contains("import ") else { continue }
      let signature = signature(from: number)
      let declared = Words(signature).drop { !Self.kinds.contains($0) }.dropFirst().first { _ in true }
      found.formUnion(Words.withoutLabels(signature).filter { $0 != declared })
    }
    return found
  }

  /// A declaration up to where its body begins, or to the end of the line on which its brackets are closed.
  private func signature(from number: Int) -> String {
    var text = ""
    var depth = 0
    for line in code[number...].prefix(14) {
      for character in line.utf8 {
        switch character {
        case UInt8(ascii: "("), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: ")"), UInt8(ascii: "]"): depth -= 1
        case UInt8(ascii: "{") where depth == 0: return text
        default: break
        }
        text.unicodeScalars.append(Unicode.Scalar(character))
      }
      if depth == 0 { return text }
      text += " "
    }
    return text
  }
}
