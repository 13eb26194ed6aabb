//! Floor 1: YAML with spans, substitution, suggestions and faults. The only place that knows YAML.
