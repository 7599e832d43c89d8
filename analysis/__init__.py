"""From a store or an MLflow server to tables, theory, figures and answers.

Reads; the engine never imports it.
"""
