import Basics

extension TaskRecord {
  /// The task as clients see it, JSON.
  public var json: [UInt8] {
    var json = JSONWriter(capacity: 320 + (result?.count ?? 0))
    json.object { json in
      json.field("id", id)
      json.field("type", kind)
      json.field("status", state.name)
      json.field("priority", priority.name)
      json.field("attempts", attempts)
      json.key("result")
      if let result { json.raw(result) } else { json.null() }
      json.field("error", error)
      if let progress { json.field("progress", (progress * 1000).rounded() / 1000) }
      TaskRecord.write("created_at", createdAt, &json)
      TaskRecord.write("started_at", startedAt, &json)
      TaskRecord.write("completed_at", completedAt, &json)
    }
    return json.bytes
  }

  private static func write(_ name: StaticString, _ time: Timestamp?, _ json: inout JSONWriter) {
    json.key(name)
    if let time { json.string(time.rfc3339) } else { json.null() }
  }
}
