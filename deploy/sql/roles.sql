-- The roles of a deployment. Run it in the platform's database before `streams db upgrade`, as a superuser, or as the
-- owner of database and tables if that role has CREATEROLE. `streams doctor` names each right that is missing.

-- Runs `streams db upgrade`, and nothing else. It sees no table of the platform.
create role streams_owner login;
grant streams_owner to current_user;
create schema streams authorization streams_owner;

-- Workers, and operators' commands that change something, such as `streams dlq replay`.
create role streams_worker login;
-- CREATE is for the collections of pgvector: their tables belong to the worker.
grant usage, create on schema public to streams_worker;
grant select on
    accounts, data_source_oauth_bindings, datasource_providers, provider_credentials, provider_model_credentials,
    provider_models, tenant_account_joins, tenant_default_models, tenant_plugin_auto_upgrade_strategies, tenants
    to streams_worker;
grant select, delete on
    api_tokens, app_annotation_hit_histories, app_mcp_servers, app_model_configs, dataset_metadata_bindings,
    dataset_metadatas, dataset_process_rules, dataset_queries, dataset_retriever_resources, end_users,
    message_agent_thoughts, message_chains, message_feedbacks, message_files, pinned_conversations,
    recommended_apps, saved_messages, tag_bindings, tool_conversation_variables, tool_workflow_providers,
    trace_app_config, workflow_app_logs, workflow_conversation_variables, workflow_draft_variables,
    workflow_node_execution_offload, workflows
    to streams_worker;
grant select, insert on dataset_collection_bindings to streams_worker;
grant select, update on apps, datasets, providers to streams_worker;
grant select, insert, update on tidb_auth_bindings to streams_worker;
grant select, update, delete on
    conversations, documents, messages, pipelines, tool_files, workflow_draft_variable_files
    to streams_worker;
grant select, insert, update, delete on
    app_annotation_settings, app_dataset_joins, child_chunks, dataset_auto_disable_logs, dataset_keyword_tables,
    document_segments, embeddings, installed_apps, message_annotations, sites, upload_files,
    workflow_node_executions, workflow_runs
    to streams_worker;

-- A service that publishes with the outbox, in its own transactions: give its role this one, too.
create role streams_sender;

-- `streams relay` in a process of its own: it sends the outbox and sees nothing else. A worker's relay has its worker's.
create role streams_relay login;

-- `streams exporter`, and an operator who looks and changes nothing: `streams executions list`, `streams dlq list`,
-- `streams outbox list`, `streams top`.
create role streams_reader login;
