"""Reports dead letters and failures of the engine to Sentry. The SDK is loaded only if SENTRY_DSN is set."""
