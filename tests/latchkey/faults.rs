//! PostgreSQL away, replicas side by side, races.
