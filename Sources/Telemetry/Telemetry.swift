// Telemetry: what a running role tells about itself: metrics as Prometheus text, and structured log lines.
//
// Every room above counts and logs through here; it calls nobody. The hot path counts and never logs: an increment is
// one plain add to a cell that only the counting thread writes (`MetricCells`), and cells are summed when somebody
// reads them. Log lines are handed to a thread of their own (`LogSink`), so a slow terminal never stops a reactor.
// A new kind of metric is a handle over cells in a file of its own, rendered in `Metrics+Rendering.swift`.
