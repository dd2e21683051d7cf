/// Who stands on whom. Each check returns the faults that it found, as sentences.
extension SourceTree {
  /// Files that import what does not stand below them, or what the manifest does not name for their room.
  func importsFromAbove(_ house: House) -> [String] {
    sources.flatMap { file -> [String] in
      guard let floor = house.floors[file.room] else { return ["\(file.room) is not in Package.swift"] }
      return file.imports.flatMap { imported -> [String] in
        guard let below = house.floors[imported] else { return [] }
        // Up to floor 3, rooms of one floor may stand on each other in the order of the manifest.
        let isBelow = below < floor || below == floor && floor <= 3 && house.order(imported, file.room)
        let isNamed = house.dependencies[file.room]?.contains(imported) == true
        return (isNamed ? [] : ["\(file.path) imports \(imported), which Package.swift does not name for \(file.room)"])
          + (isBelow ? [] : ["\(file.path), on floor \(floor), imports \(imported), on floor \(below)"])
      }
    }
  }

  /// Rooms that nothing depends on, and what a room names in the manifest and never imports.
  func idleDependencies(_ house: House, but top: String) -> [String] {
    let used = Set(house.dependencies.values.joined())
    let unused = house.floors.keys.filter { $0 != top && !used.contains($0) }.map { "nothing depends on \($0)" }
    let named = house.dependencies.flatMap { room, dependencies -> [String] in
      let imported = Set(sources.filter { $0.room == room }.flatMap(\.imports))
      guard !imported.isEmpty else { return [] }
      return dependencies.subtracting(imported).map { "\(room) names \($0) in Package.swift and never imports it" }
    }
    return (unused + named).sorted()
  }

  /// Files that import a module whose name begins with `prefix`.
  func importers(of prefix: String) -> [String] {
    sources.filter { $0.imports.contains { $0.hasPrefix(prefix) } }.map { "\($0.path) imports \(prefix)" }
  }

  /// What should decide without I/O and imports more than `Basics`. `places` are files or folders.
  func impurities(in places: [String]) -> [String] {
    places.flatMap { place -> [String] in
      let found = sources.filter { $0.path == place || $0.path.hasPrefix(place + "/") }
      guard !found.isEmpty else { return ["\(place) is not there"] }
      return found.flatMap { file in
        file.imports.filter { $0 != "Basics" }.map { "\(file.path) only decides, but imports \($0)" }
      }
    }
  }

  /// Rooms whose entry file is missing or does not open with a paragraph about the room.
  func roomsWithoutDoor(_ house: House) -> [String] {
    house.swiftRooms.compactMap { room in
      let path = "Sources/\(room)/\(room == "Millrace" ? "main" : room).swift"
      guard let file = files.first(where: { $0.path == path }) else { return "\(room) has no door" }
      let opening = file.lines.prefix { $0.hasPrefix("//") }
      if opening.count < 4 { return "\(path) does not open with a paragraph about the room" }
      return opening.first?.hasPrefix("// \(room)") == true ? nil : "\(path) does not begin with the room's name"
    }
  }
}
