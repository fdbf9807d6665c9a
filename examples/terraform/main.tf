terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "database_host" {
  description = "The cluster's writer endpoint."
  type        = string
}

variable "database_secret_arn" {
  description = "The ARN of the secret with user and password."
  type        = string
}

locals {
  stack    = "AuroraMigrationsRunnerStack-shop-prod"
  template = "${path.module}/out/${local.stack}.template.json"
  package  = one(fileset("${path.module}/out", "aurora-migrations-*.zip"))
}

resource "aws_s3_bucket" "packages" {
  bucket_prefix = "shop-migrations-"
}

resource "aws_s3_object" "package" {
  bucket = aws_s3_bucket.packages.bucket
  key    = local.package
  source = "${path.module}/out/${local.package}"
}

resource "aws_s3_object" "template" {
  bucket = aws_s3_bucket.packages.bucket
  key    = "template-${filesha256(local.template)}.json"
  source = local.template
}

resource "aws_ssm_parameter" "host" {
  name  = "/shop/prod/database-host"
  type  = "String"
  value = var.database_host
}

resource "aws_ssm_parameter" "secret" {
  name  = "/shop/prod/database-secret-arn"
  type  = "String"
  value = var.database_secret_arn
}

resource "aws_cloudformation_stack" "migrations" {
  name         = local.stack
  template_url = "https://${aws_s3_bucket.packages.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM"]

  parameters = {
    PackageBucket = aws_s3_bucket.packages.bucket
  }

  depends_on = [aws_s3_object.package, aws_ssm_parameter.host, aws_ssm_parameter.secret]
}

output "state_machine" {
  value = aws_cloudformation_stack.migrations.outputs["StateMachineArn"]
}
