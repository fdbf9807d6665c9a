"""The environments of cdk.json, as pydantic models.

    environment   Environment, Network, Database; reading them     limits   Limits, and which can work together
    fields        base model, references, lists, times, hosts      errors   mistakes, as lines that name the key

Nothing here loads the CDK.
"""

from infra.config.environment import Database, Environment, Network, read_environments
from infra.config.errors import SettingsError
from infra.config.fields import Export, Parameter, Reference
from infra.config.limits import TASK_MARGIN_MS, Limits

__all__ = ["TASK_MARGIN_MS", "Database", "Environment", "Export", "Limits", "Network", "Parameter", "Reference"]
__all__ += ["SettingsError", "read_environments"]
