"""The 59 panels of release 3.2.0, by dashboard and place."""

TITLES = {
    1: ["Top 10 Queries by Total Execution Time", "Average Query Execution Time Trend", "Top 20 Slowest Queries",
        "Query Execution Frequency Trend", "Buffer Cache Hit Ratio Trend", "Top 20 Most Frequent Queries", "I/O Read Time Trend",
        "I/O Write Time Trend", "Total Query Count", "Peak Query Execution Time", "Overall Cache Hit Ratio", "Unique Queries Count"],
    2: ["Query Execution Time Trend", "Top Queries by Mean Execution Time", "Buffer Cache Hit Ratio by Database",
        "Top 10 Most Called Queries", "Block I/O Time Trend", "Unique Queries Count", "Average Query Execution Time"],
    3: ["Query Execution Time Trend", "Query Performance Summary Table", "Buffer Cache Hit Ratio", "Block I/O Time"],
    4: ["Query Execution Time by Collector", "Collectors Summary", "Query Volume Distribution by Collector",
        "Buffer Cache Hit Ratio by Collector", "I/O Performance by Collector", "Performance Comparison by Collector"],
    5: ["Max Replica Replay Lag", "Min XID Wraparound % Remaining", "Connected Replicas", "Replication Slots",
        "Replication Replay Lag Over Time", "WAL Directory Size Over Time", "XID Wraparound Risk % by Database",
        "Replica Sync State Distribution", "Replication Status Details", "Wraparound Risk by Database", "Replication Slots Details"],
    6: ["Replication Lag Analysis write/flush/replay", "WAL Growth Rate MB/hour", "WAL Segments Analysis",
        "Replication Slot Type Distribution", "XID Wraparound Risk Trend – all databases", "Replica Lag Statistics",
        "WAL Status History"],
    7: ["Query Anomalies (24 h)", "Anomalies by Severity", "Detected Workload Patterns", "Top Index Recommendations"],
    8: ["Local Buffer Metrics by User", "Temporary Storage Usage", "WAL Activity (13+)", "Query Planning Time by User"],
    9: ["Top 15 Tables by Size", "Top Indexes by Scans", "Tables with High Sequential Scans", "Database-level Statistics"],
}
PANELS = {f"{board}.{place}": title for board, titles in TITLES.items() for place, title in enumerate(titles, 1)}
