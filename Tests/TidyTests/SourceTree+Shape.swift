/// How files, functions and folders look. Each check returns the faults that it found, as sentences.
extension SourceTree {
  /// Files of more than 400 lines (tests: 600), and lines of more than 120 columns.
  func longFiles() -> [String] {
    files.flatMap { file -> [String] in
      let most = file.isSource ? 400 : 600
      let tooLong =
        file.lines.count > most ? ["\(file.path) has \(file.lines.count) lines, at most \(most) are allowed"] : []
      return tooLong
        + file.lines.enumerated().filter { $0.element.count > 120 }.map { number, line in
          "\(file.path):\(number + 1) has \(line.count) columns, at most 120 are allowed"
        }
    }
  }

  func longFunctions() -> [String] {
    files.flatMap { file in
      file.functions.filter { $0.length > 70 }.map {
        "\(file.path):\($0.line) is \($0.length) lines long, at most 70 are allowed"
      }
    }
  }

  /// Folders of `Sources` that hold more than ten Swift files themselves.
  func crowdedFolders() -> [String] {
    Dictionary(grouping: sources, by: \.folder).filter { $0.value.count > 10 }.map { folder, files in
      "\(folder) holds \(files.count) files, at most 10 are allowed: give it folders inside, by idea"
    }.sorted()
  }

  /// Notes that promise what is not there.
  func thingsLeftForLater() -> [String] {
    // Spelled apart here, so that this file does not find itself.
    let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X:"]
    return files.flatMap { file in
      file.lines.enumerated().flatMap { number, line in
        words.filter(line.contains).map { "\(file.path):\(number + 1) has a \($0)" }
      }
    }
  }

  /// Where the compiler's checks are escaped from, and where the reason is missing.
  func escapes() -> (count: Int, withoutReason: [String]) {
    let escapes = [
      "@unchecked Sendable", "nonisolated(unsafe)", "unowned(unsafe)", "unsafeBitCast", "_withUnsafeGuaranteedRef",
    ]
    var count = 0
    var withoutReason: [String] = []
    for file in sources {
      for (number, code) in file.code.enumerated() where escapes.contains(where: code.contains) {
        count += 1
        let near = file.lines[max(0, number - 4)...min(file.lines.count - 1, number + 4)]
        if !near.contains(where: { $0.lowercased().contains("safe because") }) {
          withoutReason.append("\(file.path):\(number + 1) does not say 'Safe because: …'")
        }
      }
    }
    return (count, withoutReason)
  }

  /// Tests that could hang for ever: suites, and tests outside a suite, that have no time limit.
  func testsWithoutTimeLimit() -> [String] {
    files.filter { !$0.isSource }.flatMap { file -> [String] in
      let hasSuite = file.code.contains { $0.hasPrefix("@Suite") }
      return file.code.indices.compactMap { number in
        let line = file.code[number]
        let trimmed = line.drop { $0 == " " }
        let isFree = line.hasPrefix("@Test") || !hasSuite && trimmed.hasPrefix("@Test") && !file.extendsSuite
        guard trimmed.hasPrefix("@Suite") || isFree else { return nil }
        let declared = file.code[number...].prefix(12)
        let end = declared.firstIndex { !Set(Words($0)).isDisjoint(with: ["struct", "final", "class", "func"]) }
        let isLimited = declared[...(end ?? number)].contains { $0.contains(".timeLimit(") }
        return isLimited ? nil : "\(file.path):\(number + 1) has no time limit"
      }
    }
  }
}

extension SourceTree.File {
  /// Whether its tests belong to a suite that another file declares.
  fileprivate var extendsSuite: Bool { code.contains { $0.hasPrefix("extension ") } }

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
