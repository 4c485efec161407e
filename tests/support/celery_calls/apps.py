"""Calls about apps: annotations, workflows, traces."""

from decimal import Decimal

from tests.support.celery_calls.call import (
    ANNOTATION,
    APP,
    BINDING,
    FILE,
    JOB,
    NODE_RUN,
    OF_ANNOTATION,
    OF_APP,
    RUN,
    TENANT,
    USER,
    Call,
)
from tests.support.celery_calls.live_values import NODE_DATA, RUN_DATA, Deletion, DeletionTuple, Role

SAVED = "execution_data tenant_id app_id triggered_from creator_user_id creator_user_role"

ANNOTATIONS = (
    Call(
        "annotation.add_annotation_to_index_task.add_annotation_to_index_task",
        "annotation_id question tenant_id app_id collection_binding_id",
        (ANNOTATION, "q", TENANT, APP, BINDING),
        "annotation.added",
        {**OF_ANNOTATION, "question": "q"},
    ),
    Call(
        "annotation.update_annotation_to_index_task.update_annotation_to_index_task",
        "annotation_id question tenant_id app_id collection_binding_id",
        (ANNOTATION, "q", TENANT, APP, BINDING),
        "annotation.updated",
        {**OF_ANNOTATION, "question": "q"},
    ),
    Call(
        "annotation.delete_annotation_index_task.delete_annotation_index_task",
        "annotation_id app_id tenant_id collection_binding_id",
        (ANNOTATION, APP, TENANT, BINDING),
        "annotation.deleted",
        OF_ANNOTATION,
        due=1,
    ),
    Call(
        "annotation.enable_annotation_reply_task.enable_annotation_reply_task",
        "job_id app_id user_id tenant_id score_threshold embedding_provider_name embedding_model_name",
        (JOB, APP, USER, TENANT, Decimal("0.5"), "openai", "small"),
        "annotation-reply.enabled",
        {
            **OF_APP,
            "job_id": JOB,
            "account_id": USER,
            "score_threshold": 0.5,
            "embedding_provider_name": "openai",
            "embedding_model_name": "small",
        },
    ),
    Call(
        "annotation.disable_annotation_reply_task.disable_annotation_reply_task",
        "job_id app_id tenant_id",
        (JOB, APP, TENANT),
        "annotation-reply.disabled",
        {**OF_APP, "job_id": JOB},
    ),
    Call(
        "annotation.batch_import_annotations_task.batch_import_annotations_task",
        "job_id content_list app_id tenant_id user_id",
        (JOB, [{"question": "q", "answer": "a"}, {"question": float("nan"), "answer": "a"}], APP, TENANT, USER),
        "annotations.import-requested",
        {
            **OF_APP,
            "job_id": JOB,
            "account_id": USER,
            "rows": [{"question": "q", "answer": "a"}, {"question": "", "answer": "a"}],
        },
    ),
)

WORKFLOWS = (
    Call(
        "workflow_execution_tasks.save_workflow_execution_task",
        SAVED,
        (RUN_DATA, TENANT, APP, "app-run", USER, Role.ACCOUNT),
        "workflow.run-saved",
        {
            **OF_APP,
            "run_id": RUN,
            "workflow_id": "w",
            "workflow_type": "llm",
            "workflow_version": "draft",
            "triggered_from": "app-run",
            "status": "succeeded",
            "graph": '{"nodes": [{"id": "n"}]}',
            "inputs": '{"file": {"id": "f", "dify_model_identity": "file"}, "n": 1.5}',
            "outputs": "{}",
            "total_tokens": 3,
            "total_steps": 2,
            "exceptions_count": 1,
            "created_by_role": "account",
            "created_by": USER,
            "started_at": "2026-01-02T03:04:05Z",
        },
    ),
    Call(
        "workflow_node_execution_tasks.save_workflow_node_execution_task",
        SAVED,
        (NODE_DATA, TENANT, APP, "workflow-run", USER, Role.ACCOUNT),
        "workflow.node-execution-saved",
        {
            **OF_APP,
            "run_id": RUN,
            "execution_id": NODE_RUN,
            "node_execution_id": "e",
            "workflow_id": "w",
            "triggered_from": "workflow-run",
            "index": 4,
            "node_id": "n",
            "node_type": "llm",
            "title": "t",
            "status": "succeeded",
            "inputs": '{"when": "2026-01-02T03:04:05", "files": [{"id": "f", "dify_model_identity": "file"}]}',
            "process_data": "{}",
            "outputs": '{"usage": {"price": 0.25}, "ids": ["a", ["b"]]}',
            "metadata": '{"total_tokens": 3, "total_price": 0.001}',
            "elapsed_time": 1.5,
            "created_by_role": "account",
            "created_by": USER,
            "started_at": "2026-01-02T03:04:05Z",
            "finished_at": "2026-01-02T03:04:05Z",
        },
    ),
    Call(
        "workflow_draft_var_tasks.save_workflow_execution_task",
        "deletions",
        ([Deletion("v", "f"), DeletionTuple("w", "g")],),
        "workflow.draft-variables-deleted",
        {
            "files": [
                {"draft_variable_id": "v", "draft_variable_file_id": "f"},
                {"draft_variable_id": "w", "draft_variable_file_id": "g"},
            ]
        },
    ),
    Call(
        "ops_trace_task.process_trace_tasks",
        "file_info",
        ({"file_id": FILE, "app_id": APP},),
        "trace.recorded",
        {**OF_APP, "file_id": FILE},
    ),
)
