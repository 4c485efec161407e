"""The platform's tables and services, in the layout of Dify 1.9.2."""
