"""The environments of cdk.json, as pydantic models.

    environment   Environment, Network, Database; reading them     limits   Limits, and which can work together
    fields        base model, references, lists, times, hosts      errors   mistakes, as lines that name the key

Nothing here loads the CDK.
"""

from aurora_migrations.cdk.config.environment import Database, Environment, Network, read_environments
from aurora_migrations.cdk.config.errors import SettingsError
from aurora_migrations.cdk.config.fields import Export, Parameter, Reference
from aurora_migrations.cdk.config.limits import TASK_MARGIN_MS, Limits

__all__ = ["TASK_MARGIN_MS", "Database", "Environment", "Export", "Limits", "Network", "Parameter", "Reference"]
__all__ += ["SettingsError", "read_environments"]
