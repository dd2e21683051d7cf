import Foundation

/// What Package.swift says of the house: the floor of each room, and which rooms it names.
struct House {
  private(set) var floors: [String: Int] = [:]
  private(set) var dependencies: [String: Set<String>] = [:]
  private(set) var swiftRooms: [String] = []
  private var places: [String: Int] = [:]

  init(manifest: String) {
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
