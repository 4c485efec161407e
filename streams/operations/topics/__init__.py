"""The topics on the cluster: plan, create, change and prune them."""
